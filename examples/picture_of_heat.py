"""Teach a plugin on a frozen image network which stacks hold a disk, and draw one it never saw: slices, heat, what counted.

    python examples/picture_of_heat.py OUT.png

ImageNet weights, generated stacks: two of twelve slices hold a disk, or none; all hold rings. Without arguments it takes a few
stacks only, and draws nothing that is worth a look.
"""

import csv
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from scipy import ndimage

import vesselgraph as vg
from vesselgraph.imaging import Prediction, load_classifier, train_classifier
from vesselgraph.imaging_config import TrainClassifierConfig

N_SLICES, SIDE = 12, 64
SETTINGS = ("slices.scale=2", "n_epochs=60", "batch=64", "rate=0.03", "query_rate=0.12", "n_resamples=100")


def stack(rng: np.random.Generator, n_disks: int) -> tuple[vg.Volume, list[int]]:
    values = 40 + 80 * ndimage.gaussian_filter(rng.normal(size=(N_SLICES, SIDE, SIDE)), (0, 2, 2))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    disks = sorted(rng.choice(N_SLICES, n_disks, replace=False).tolist())
    for number in range(N_SLICES):
        far = np.hypot(rows - rng.uniform(14, 50), columns - rng.uniform(14, 50))
        radius = rng.uniform(6, 10)
        values[number] += 60 * ((far < radius) & ((far > radius - 2) | (number in disks)))
    return vg.Volume(values.astype(np.float32), vg.Space.axial((1.0, 1.0, 1.0))), disks


def draw(said: Prediction, disks: list[int], out: Path) -> None:
    image, heat, weights = said.shown[""].array, said.heat[""].array, said.slice_weights[""]
    planes = sorted(np.argsort(-weights)[:4].tolist())
    figure = Figure(figsize=(10, 4.2), dpi=110, layout="constrained")
    wide = figure.subplot_mosaic(
        [[*(f"a{n}" for n in range(4)), "w"], [*(f"b{n}" for n in range(4)), "w"]], width_ratios=[1] * 4 + [2]
    )
    for n, plane in enumerate(planes):
        for axis in (wide[f"a{n}"], wide[f"b{n}"]):
            axis.imshow(image[plane], cmap="gray", vmin=-160, vmax=240)
            axis.set_axis_off()
        wide[f"a{n}"].set_title(f"slice {plane}", fontsize=9)
        wide[f"b{n}"].imshow(np.ma.masked_less(heat[plane], 0.1), cmap=plt.get_cmap("inferno"), vmin=0, vmax=1, alpha=0.55)
    wide["w"].barh(range(N_SLICES), weights, color=["firebrick" if n in disks else "lightsteelblue" for n in range(N_SLICES)])
    wide["w"].invert_yaxis()
    wide["w"].set(xlabel="weight in the pooling; red: slices with a disk", ylabel="slice")
    wide["w"].set_title(f"disk: probability {said.probability[0]:.2f}, uncertainty {said.uncertainty[0]:.2f}", fontsize=9)
    figure.savefig(out)


def main(out: Path, scratch: Path, n_taught: int, n_judged: int) -> float:
    rng, rows, shown = np.random.default_rng(0), [], None
    for number in range(n_taught + n_judged):
        image, disks = stack(rng, 2 * (number % 2))
        vg.write_image(image, scratch / f"{number}.nii.gz")
        split = "train" if number < n_taught else "test"
        rows.append({"image": f"{number}.nii.gz", "disk": number % 2, "split": split})
        # The first one with a disk that is judged, whatever comes of it.
        shown = (image, disks) if split == "test" and disks and shown is None else shown
    with (scratch / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    config = TrainClassifierConfig.build(overrides=[f"manifest={scratch / 'cases.csv'}", *SETTINGS])
    made = train_classifier(config, scratch / "run")
    assert shown is not None
    said = load_classifier([made.weights]).classify(shown[0], heat="auto")
    draw(said, shown[1], out)
    counted = ", ".join(str(n) for n in sorted(np.argsort(-next(iter(said.slice_weights.values())))[:2].tolist()))
    print(f"{made.n_parameters} parameters, AUC {made.scores['disk']['auc']:.3f} on {n_judged} stacks it never saw")
    print(f"disks in slices {shown[1]}, counted most {counted}; {out}")
    return made.scores["disk"]["auc"]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        if len(sys.argv) > 1:
            main(Path(sys.argv[1]), Path(folder), 80, 40)
        else:
            assert 0 <= main(Path(folder) / "heat.png", Path(folder), 8, 4) <= 1
            assert (Path(folder) / "heat.png").stat().st_size > 10_000
