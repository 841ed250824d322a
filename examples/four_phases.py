"""A study of several contrast phases of one patient: brought onto one grid, then reconstructed; a phase may be missing.

    python examples/four_phases.py OUT portal=PORTAL.nii.gz arterial=ART.nii.gz native=NATIVE.nii.gz

The first phase gives the grid. Without arguments it makes a small study whose phases were taken in different breaths, and
leaves one of them out.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import vesselgraph as vg
from vesselgraph.config import StudyConfig
from vesselgraph.phantom import make_study
from vesselgraph.space import Space


def main(phases: dict[str, object], out: Path, mask: vg.Volume | None = None) -> vg.Reconstruction:
    together = vg.read_phases(phases)  # files or volumes; the first gives the grid
    for name, quality in together.quality.items():
        print(name, {key: round(value, 3) for key, value in quality.items()})
    result = vg.reconstruct(together, mask=mask)
    vg.write_results(result, out)
    for warning in result.run["warnings"]:
        print("warning:", warning)
    print(f"{result.graph.n_edges} branches, {result.graph.length:.0f} mm; open {out / 'report.html'}")
    return result


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        if len(sys.argv) > 2:
            main(dict(argument.split("=", 1) for argument in sys.argv[2:]), Path(sys.argv[1]))
        else:
            study = make_study(StudyConfig(shape=(64, 64, 64), spacing=(2, 2, 2), n_portal_tips=60, n_hepatic_tips=50))
            portal, arterial = study.phases["portal"], study.phases["arterial"]
            breath = np.add(arterial.space.origin, (3.0, -2.0, 6.0))
            moved = vg.Volume(arterial.array, Space(arterial.space.spacing, breath, arterial.space.direction))
            result = main(
                {"portal": portal, "arterial": moved, "delayed": study.phases["delayed"]}, Path(scratch), study.organ_mask
            )
            back = vg.read_phases({"portal": portal, "arterial": moved})["arterial"].array.astype(float)
            middle = (slice(16, -16),) * 3
            before = abs(vg.resample_like(moved, portal).array - arterial.array)[middle].mean()
            after = abs(back - arterial.array)[middle].mean()
            print(f"arterial phase: mean difference {before:.1f} HU from where it belongs before, {after:.1f} after")
            assert after < 0.7 * before
