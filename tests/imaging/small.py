"""Small cases and encoders for the tests of the imaging tasks."""

import csv

import numpy as np
import torch

from tests.encoders.tiny import card_of
from vesselgraph.config import SliceConfig
from vesselgraph.encoders.loading import make_encoder
from vesselgraph.imaging.looking import Backbone
from vesselgraph.imaging_config import TrainClassifierConfig
from vesselgraph.io import write_image
from vesselgraph.space import Space
from vesselgraph.volume import Volume


def backbone_of(family="clip", seed=0):
    """Return a small encoder with random weights as a backbone."""
    torch.manual_seed(seed)
    encoder = make_encoder(card_of(family), SliceConfig(chunk=4))
    return Backbone(encoder, family, encoder.card.digest(), f"random, seed {seed}")


def image_of(number, side=16, depth=3, bright=False):
    """Return a noisy image in [0, 1]; one with the finding has a bright square in its second plane."""
    rng = np.random.default_rng(number)
    array = rng.normal(0.3, 0.05, (depth, side, side)).astype(np.float32)
    if bright:
        array[1, 4:12, 4:12] += 0.6
    return Volume(array, Space.axial((3.0, 1.0, 1.0)))


def write_cases(folder, n=12, masks=False, extra=()):
    """Write images and their manifest; odd ones have the finding; every third is a test case."""
    rows = []
    for number in range(n):
        image = image_of(number, bright=number % 2 == 1)
        write_image(image, folder / f"{number}.nii.gz")
        row = {"case": f"c{number}", "split": "test" if number % 3 == 2 else "train", "image": f"{number}.nii.gz"}
        row["square"] = str(number % 2)
        if masks:
            row["mask"] = f"{number}-mask.nii.gz" if number % 2 else "empty"
            if number % 2:
                write_image(image.with_array((image.array > 0.6).astype(np.uint8)), folder / row["mask"])
        rows.append(row | {name: value(number) for name, value in extra})
    write_manifest(folder / "cases.csv", rows)
    return folder / "cases.csv"


def write_manifest(path, rows):
    """Write rows as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def recipe(manifest, **more):
    """Return a quick recipe."""
    values = {"manifest": str(manifest), "n_epochs": 4, "batch": 4, "rate": 1e-2, "adapter_rate": 1e-2, "n_resamples": 20}
    return TrainClassifierConfig.build({**values, **more})
