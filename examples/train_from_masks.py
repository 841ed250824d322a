"""Train a heatmap network on your own images and vessel masks, and use it.

    python examples/train_from_masks.py MANIFEST.csv OUT

The manifest names images and masks, one row an image (docs/training.md). Without arguments a tiny network learns for seconds
from one generated CT: enough to see that everything fits together, far too little for a patient.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import vesselgraph as vg
from vesselgraph.config import HeatmapConfig, PhantomConfig, TrainHeatmapConfig
from vesselgraph.heatmap.training import train_heatmap

TINY = ["widths=[8,16]", "patch=24", "n_steps=50", "n_warm_up=5", "average=0.9", "rate=0.01", "pool=1", "n_workers=0"]


def main(manifest: Path, out: Path, settings: list[str]) -> HeatmapConfig:
    # n_studies=0: no generated studies besides the real cases.
    config = TrainHeatmapConfig.build(overrides=[f'manifest="{manifest}"', "n_studies=0", "n_validation=0", *settings])
    training = train_heatmap(config, out)
    print(f"{training.n_steps} steps, weights in {training.weights}")
    return HeatmapConfig(method="network", weights=str(training.weights))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        main(Path(sys.argv[1]), Path(sys.argv[2]), [])
    else:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            phantom = vg.make_phantom(PhantomConfig(shape=(56, 56, 56), n_tips=6))
            vg.write_image(phantom.image, folder / "ct.nii.gz")
            vg.write_image(phantom.organ_mask, folder / "liver.nii.gz")
            vg.write_image(phantom.vessel_mask, folder / "vessels.nii.gz")
            (folder / "cases.csv").write_text("image,phase,vessel,organ\nct.nii.gz,portal,vessels.nii.gz,liver.nii.gz\n")
            trained = main(folder / "cases.csv", folder / "out", TINY)
            heatmap = vg.predict_heatmap(phantom.image, trained, region=phantom.organ_mask)
            vessels = vg.resample_like(phantom.vessel_mask, heatmap.heat, interpolation="nearest").array
            liver = vg.resample_like(phantom.organ_mask, heatmap.heat, interpolation="nearest").array
            inside, beside = (float(np.mean(heatmap.heat.array[where & liver])) for where in (vessels, ~vessels))
            print(f"heat in vessels {inside:.2f}, beside them {beside:.2f}")
            assert inside > 1.5 * beside
