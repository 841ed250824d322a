"""Read the features of a frozen image network at places of a CT: do they know the organ? And write them for every branch.

    python examples/features_at_places.py CT.nii.gz ORGAN.nii.gz BRANCHES.csv

ImageNet weights; only a linear classifier is fitted: points of the lower half of the image teach, those of the upper half are
judged. Without arguments it takes a small generated CT.
"""

import csv
import sys
import tempfile
from pathlib import Path

import numpy as np

import vesselgraph as vg
from vesselgraph.config import PhantomConfig
from vesselgraph.encoders import branch_features, encode_volume, load_encoder, sample

# The channels of the two finest maps, whose cells are 4 and 8 voxels wide.
N_POINTS, N_FINE = 2000, 64


def points_of(mask: vg.Volume, wanted: bool, rng: np.random.Generator) -> np.ndarray:
    chosen = np.argwhere((mask.array > 0) == wanted)
    return np.asarray(mask.space.to_world(chosen[rng.choice(len(chosen), min(N_POINTS, len(chosen)), replace=False)]))


def main(ct: vg.Volume, organ: vg.Volume, table: Path) -> float:
    encoded = encode_volume(load_encoder("efficientnet-lite0"), ct, max_memory_gb=8)
    rng = np.random.default_rng(0)
    places = [points_of(organ, wanted, rng) for wanted in (False, True)]
    middle = ct.space.to_world(np.array(ct.shape) / 2)[2]
    taught, judged = ([side[(side[:, 2] < middle) == lower] for side in places] for lower in (True, False))
    seen = [sample(encoded, side).numpy()[:, :N_FINE] for side in taught]
    known, answer = np.concatenate(seen), np.repeat([-1.0, 1.0], [len(side) for side in seen])
    mean, spread = known.mean(0), known.std(0) + 1e-6
    x = (known - mean) / spread
    direction = np.linalg.solve(x.T @ x / len(x) + 0.1 * np.eye(N_FINE), x.T @ answer / len(x))
    said = [((sample(encoded, side).numpy()[:, :N_FINE] - mean) / spread) @ direction + answer.mean() > 0 for side in judged]
    accuracy = float(np.mean([(one == wanted).mean() for wanted, one in enumerate(said)]))
    graph = vg.reconstruct(ct, mask=organ).graph
    values, names = branch_features(encoded, graph, outside="nearest")
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("branch", *names[:8]), *((n, *row[:8].tolist()) for n, row in enumerate(values))])
    print(
        f"in the organ or not, {N_POINTS} unseen points: {accuracy:.0%} right; {values.shape} features of branches in {table}"
    )
    return accuracy


if __name__ == "__main__":
    if len(sys.argv) > 3:
        image = vg.read_image(sys.argv[1])
        main(image, vg.resample_like(vg.read_mask(sys.argv[2]), image, interpolation="nearest"), Path(sys.argv[3]))
    else:
        phantom = vg.make_phantom(PhantomConfig(shape=(96, 96, 96), n_tips=6))
        with tempfile.TemporaryDirectory() as scratch:
            assert main(phantom.image, phantom.organ_mask, Path(scratch) / "branches.csv") > 0.8
