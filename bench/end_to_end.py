"""A whole CT end to end: wall time, peak memory and the share of every stage.

The CT is a real one (512 x 512 x about 130, its liver mask given) where the real cases are at hand, else a generated one of
that size. Reading and writing of files are timed too.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import harness
import psutil
from harness import Clock

from vesselgraph.config import PhantomConfig
from vesselgraph.io import read_image, read_mask, write_image
from vesselgraph.phantom import make_phantom
from vesselgraph.pipeline import reconstruct
from vesselgraph.results import write_results


def main() -> None:
    args = harness.arguments("One whole CT end to end.", seeds=(0,))
    small = harness.phantom_of(0, small=True)
    harness.warm_up(lambda: reconstruct(small.image, mask=small.organ_mask))
    with tempfile.TemporaryDirectory() as folder:
        ct_path, mask_path, what = _inputs(Path(folder), args.seeds[0], args.small)
        with Clock() as whole:
            with Clock() as reading:
                ct, mask = read_image(ct_path), read_mask(mask_path)
            result = reconstruct(ct, mask=mask)
            with Clock() as writing:
                write_results(result, Path(folder) / "out")
    stages = {
        "read": reading.wall,
        **{name: s for name, s in result.run["timings"].items() if name != "total"},
        "write files and report": writing.wall,
    }
    rows = [{"stage": name, "wall s": wall, "share": wall / whole.wall} for name, wall in stages.items()]
    rows.append({"stage": "all", "wall s": whole.wall, "share": 1.0})
    harness.print_table(f"{what}: {' x '.join(map(str, ct.shape))} voxels", rows)
    resident = psutil.Process().memory_info().rss
    print(
        f"\n{whole.wall:.1f} s wall, {whole.cpu:.1f} CPU s; memory rose by {whole.memory / 1e9:.2f} GB at most "
        f"(now resident {resident / 1e9:.2f} GB). {result.graph.n_edges} branches, {result.mesh.n_faces} faces."
    )
    values = {"what": what, "wall": whole.wall, "cpu": whole.cpu, "memory": whole.memory, "stages": stages}
    harness.finish(args, "end_to_end", values)


def _inputs(folder: Path, seed: int, small: bool) -> tuple[Path, Path, str]:
    """Return the paths of a CT and an organ mask, and what they are."""
    real = sorted(path.parent for path in harness.data_folder().glob("*/liver.nii.gz"))
    if real and not small:
        return real[0] / "ct.nii.gz", real[0] / "liver.nii.gz", f"real CT {real[0].name}"
    if small:
        phantom = harness.phantom_of(seed, small=True)
    else:
        phantom = make_phantom(PhantomConfig(shape=(130, 512, 512), spacing=(1.6, 0.6, 0.6), seed=seed))
    write_image(phantom.image, folder / "ct.nii.gz")
    write_image(phantom.organ_mask, folder / "liver.nii.gz")
    return folder / "ct.nii.gz", folder / "liver.nii.gz", "generated CT"


if __name__ == "__main__":
    main()
