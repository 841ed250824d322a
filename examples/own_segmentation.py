"""Bring your own vessel mask or probability map, as nnU-Net or TotalSegmentator write it, and only trace it.

    python examples/own_segmentation.py CT.nii.gz VESSELS.nii.gz

Without arguments it uses the true mask of a generated CT.
"""

import sys
import tempfile
from pathlib import Path

import vesselgraph as vg
from vesselgraph.config import PhantomConfig


def main(ct_file: Path, vessel_file: Path) -> vg.Reconstruction:
    ct = vg.read_image(ct_file)
    vessels = vg.read_heatmap(vessel_file)  # 0 and 1, or probabilities; may lie on another grid than the CT
    print(f"the {vessels.source} covers {float((vessels.heat.array > 0.5).mean()):.2%} of its grid")
    # The heatmap says where vessels are, so no organ is needed.
    config = vg.PipelineConfig.build(overrides=["region.method=whole"])
    result = vg.reconstruct(ct, config, heatmap=vessels)
    print(f"{result.graph.n_edges} branches, {result.graph.length:.0f} mm, {result.mesh.volume / 1000:.1f} ml")
    return result


if __name__ == "__main__":
    if len(sys.argv) == 3:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            phantom = vg.make_phantom(PhantomConfig(shape=(80, 80, 80), n_tips=8))
            files = Path(scratch) / "ct.nii.gz", Path(scratch) / "vessels.nii.gz"
            vg.write_image(phantom.image, files[0])
            vg.write_image(phantom.vessel_mask, files[1])
            result = main(*files)
            ratio = result.graph.length / phantom.graph.length
            print(f"traced length / true length = {ratio:.3f}")
            assert 0.9 < ratio < 1.1
