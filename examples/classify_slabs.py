"""Train a classifier of findings on pieces of a CT, with ImageNet weights: probability, uncertainty, whom to ask, and heat.

    python examples/slabs_of_ct.py --image CT.nii.gz --mask portal=PORTAL.nii.gz --out SLABS
    python examples/classify_slabs.py SLABS/slabs.csv OUT

OUT/answers has report.html, predictions.csv with the answers that a person should look at, and for each piece the heat as PNG.
One patient shows that everything fits together, not that it works on the next one. Without arguments it takes a generated CT.
"""

import sys
import tempfile
from pathlib import Path

from slabs_of_ct import generated

from vesselgraph.imaging import load_classifier, train_classifier
from vesselgraph.imaging.cases import read_case_list
from vesselgraph.imaging.results import classify_cases
from vesselgraph.imaging_config import TrainClassifierConfig

FIGURES = ("n_positive", "n", "auc", "auc_low", "auc_high", "ece", "aurc_uncertainty", "aurc_confidence", "aurc_random")


def main(manifest: Path, out: Path, *settings: str) -> dict[str, dict[str, float]]:
    config = TrainClassifierConfig.build(overrides=[f"manifest={manifest}", "n_epochs=80", *settings])
    training = train_classifier(config, out / "run")
    for name, row in training.scores.items():
        print(name, ", ".join(f"{key} {row[key]:.3g}" for key in FIGURES if key in row))
    judged, classifier = read_case_list(manifest).of("test"), load_classifier([training.weights])
    classify_cases(classifier, judged, out / "answers", refer_above=0.5, refer_stranger=0.95)
    print(f"{training.n_parameters} parameters learned; open {out / 'answers' / 'report.html'}")
    return training.scores


if __name__ == "__main__":
    if len(sys.argv) > 2:
        main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
    else:
        with tempfile.TemporaryDirectory() as scratch:
            found = main(generated(Path(scratch) / "slabs"), Path(scratch), "n_resamples=10", "slices.scale=3")
        assert found["organ"]["auc"] > 0.75
