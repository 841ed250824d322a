"""Teach a plugin on a frozen image network which stacks hold a disk, and draw one it never saw: slices, heat, what counted.

    python examples/picture_of_heat.py OUT.png

ImageNet weights; stacks of rings, half with two disks. Drawn is the first of these it never saw. Without arguments: few stacks.
"""

import io
import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib import figure, image
from scipy import ndimage

import vesselgraph as vg
from vesselgraph.imaging import load_classifier, train_classifier
from vesselgraph.imaging.pictures import overlay_png
from vesselgraph.imaging_config import TrainClassifierConfig

SETTINGS = ("slices.scale=2", "n_epochs=60", "batch=64", "rate=0.03", "query_rate=0.12", "n_resamples=100")


def stack(rng: np.random.Generator, disks: list[int]) -> vg.Volume:
    values = 40 + 80 * ndimage.gaussian_filter(rng.normal(size=(12, 64, 64)), (0, 2, 2))
    for number in range(12):
        far, radius = np.hypot(*(np.mgrid[:64, :64] - rng.uniform(14, 50, (2, 1, 1)))), rng.uniform(6, 10)
        values[number] += 60 * ((far < radius) & ((far > radius - 2) | (number in disks)))
    return vg.Volume(values.astype(np.float32), vg.Space.axial((1.0, 1.0, 1.0)))


def main(out: Path, folder: Path, n_taught: int, n_judged: int) -> float:
    rng, rows, shown = np.random.default_rng(0), ["image,disk,split"], {}
    for number in range(n_taught + n_judged):
        shown[number] = sorted(rng.choice(12, 2, replace=False).tolist()) if number % 2 else []
        vg.write_image(stack(rng, shown[number]), folder / f"{number}.nii.gz")
        rows.append(f"{number}.nii.gz,{number % 2},{'train' if number < n_taught else 'test'}")
    (folder / "cases.csv").write_text("\n".join(rows), encoding="utf-8")
    recipe = TrainClassifierConfig.build(overrides=[f"manifest={folder / 'cases.csv'}", *SETTINGS])
    made = train_classifier(recipe, folder / "run")
    said = load_classifier([made.weights]).classify(vg.read_image(folder / f"{n_taught + 1}.nii.gz"), heat="auto")
    whole = figure.Figure(figsize=(14, 5), dpi=80, layout="constrained")
    left, right = whole.subplots(1, 2, width_ratios=[2, 1])
    left.imshow(image.imread(io.BytesIO(overlay_png(said.shown[""], said.heat[""], (-160.0, 240.0)))))
    left.set_axis_off()
    disks = shown[n_taught + 1]
    right.barh(range(12), said.slice_weights[""], color=["firebrick" if n in disks else "lightsteelblue" for n in range(12)])
    right.set(xlabel="weight in the pooling; red: planes with a disk", ylabel="plane")
    right.set_title(f"disk: probability {said.probability[0]:.2f}, uncertainty {said.uncertainty[0]:.2f}")
    whole.savefig(out)
    print(f"{made.n_parameters} parameters, {n_judged} unseen stacks: AUC {made.scores['disk']['auc']:.3f}; disks in {disks}")
    return made.scores["disk"]["auc"]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        out, sizes = (sys.argv[1], (80, 40)) if len(sys.argv) > 1 else (f"{scratch}/heat.png", (8, 4))
        assert 0 <= main(Path(out), Path(scratch), *sizes) <= 1
