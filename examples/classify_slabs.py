"""Train a classifier of findings on slabs of one CT, with ImageNet weights, and see probability, uncertainty and heat.

    python examples/classify_slabs.py OUT CT.nii.gz liver=LIVER.nii.gz portal=PORTAL.nii.gz

Every mask becomes a finding: is it in the slab? Every fourth slab is judged on, its neighbours are left out. One patient shows
that everything fits together, not that it works on the next one. Without arguments it takes a small generated CT.
"""

import csv
import sys
import tempfile
from pathlib import Path

import numpy as np

import vesselgraph as vg
from vesselgraph.config import PhantomConfig
from vesselgraph.imaging import load_classifier, train_classifier
from vesselgraph.imaging.cases import read_case_list
from vesselgraph.imaging.results import classify_cases
from vesselgraph.imaging_config import TrainClassifierConfig

PLANES = 2


def main(ct: vg.Volume, masks: dict[str, vg.Volume], out: Path, share: float, settings: list[str]) -> dict[str, float]:
    rows = []
    for number, first in enumerate(range(0, ct.shape[0] - PLANES + 1, PLANES)):
        last = (first + PLANES, *ct.shape[1:])
        vg.write_image(ct.crop((first, 0, 0), last), out / f"slab-{number}.nii.gz")
        found = {name: int(np.mean(mask.array[first : last[0]]) > share) for name, mask in masks.items()}
        split = "test" if number % 4 == 2 else "train" if number % 4 == 0 else ""
        rows += [{"image": f"slab-{number}.nii.gz", "split": split, **found}] if split else []
    with (out / "slabs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    config = TrainClassifierConfig.build(overrides=[f"manifest={out / 'slabs.csv'}", "n_epochs=80", *settings])
    training = train_classifier(config, out / "run")
    classifier = load_classifier([training.weights])
    classify_cases(classifier, read_case_list(out / "slabs.csv").of("test"), out / "answers")
    scores = {name: row["auc"] for name, row in training.scores.items()}
    print(f"{training.n_parameters} parameters learned; AUC {scores}; open {out / 'answers' / 'report.html'}")
    return scores


if __name__ == "__main__":
    if len(sys.argv) > 3:
        image = vg.read_image(sys.argv[2])
        drawn = dict(argument.split("=", 1) for argument in sys.argv[3:])
        organs = {name: vg.resample_like(vg.read_mask(path), image, interpolation="nearest") for name, path in drawn.items()}
        Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
        main(image, organs, Path(sys.argv[1]), 0.002, ["slices.scale=0.5"])
    else:
        phantom = vg.make_phantom(PhantomConfig(shape=(128, 64, 64), n_tips=6))
        with tempfile.TemporaryDirectory() as scratch:
            found = main(phantom.image, {"organ": phantom.organ_mask}, Path(scratch), 0.3, ["n_resamples=10", "slices.scale=3"])
        assert found["organ"] > 0.75
