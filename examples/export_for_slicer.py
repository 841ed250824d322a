"""Surface and centerlines for 3D Slicer, with a check that they lie where the image says.

    python examples/export_for_slicer.py CT OUT

3D Slicer shows RAS; it reads these files as LPS (the space is stated in them) and converts by itself. Load CT, mesh.vtp and
graph.vtp: they must overlap. Without arguments it uses a small generated CT on an oblique grid.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import vesselgraph as vg
from vesselgraph.config import PhantomConfig


def main(image: vg.Volume, out: Path) -> float:
    result = vg.reconstruct(image)
    vg.write_mesh(result.mesh, out / "mesh.vtp")
    vg.write_graph(result.graph, out / "graph.vtp")

    # Read back what a viewer would read, and look the image up under the centerlines.
    points = vg.read_graph(out / "graph.vtp").path_position
    index = np.rint(image.space.to_index(points)).astype(int)
    inside = ((index >= 0) & (index < image.shape)).all(axis=1)
    on_vessel = float(image.array[tuple(index[inside].T)].mean())
    around = float(np.median(image.array[result.region.mask.array]))
    print(f"{inside.mean():.0%} of the centerline lies in the image; {on_vessel:.0f} there, {around:.0f} around")
    return on_vessel - around


if __name__ == "__main__":
    if len(sys.argv) == 3:
        Path(sys.argv[2]).mkdir(parents=True, exist_ok=True)
        main(vg.read_image(sys.argv[1]), Path(sys.argv[2]))
    else:
        angle = np.deg2rad(20)
        oblique = ((0.0, -np.sin(angle), np.cos(angle)), (0.0, np.cos(angle), np.sin(angle)), (1.0, 0.0, 0.0))
        phantom = vg.make_phantom(
            PhantomConfig(shape=(80, 80, 80), n_tips=8, direction=oblique, portal_contrast=180, hepatic_contrast=180)
        )
        with tempfile.TemporaryDirectory() as scratch:
            contrast = main(phantom.image, Path(scratch))
        assert contrast > 30  # HU: on a vessel, not beside it
