"""Two contrast phases of one patient, brought onto one grid before vessels are looked for.

    python examples/two_phases.py PORTAL.nii.gz ARTERIAL.nii.gz

Without arguments it moves a generated CT by a known shift and brings it back.
"""

import sys

import numpy as np

import vesselgraph as vg
from vesselgraph.config import PhantomConfig
from vesselgraph.space import Space


def main(phases: dict[str, object]) -> vg.PhaseSet:
    together = vg.read_phases(phases)  # files or volumes; the first gives the grid
    for name, quality in together.quality.items():
        print(name, {key: round(value, 3) for key, value in quality.items()})
    return together


if __name__ == "__main__":
    if len(sys.argv) == 3:
        main({"portal": sys.argv[1], "arterial": sys.argv[2]})
    else:
        portal = vg.make_phantom(PhantomConfig(shape=(80, 80, 80), spacing=(2, 2, 2), n_tips=8)).image
        other = vg.make_phantom(PhantomConfig(shape=(80, 80, 80), spacing=(2, 2, 2), n_tips=8, noise_seed=1)).image
        shifted = np.add(other.space.origin, (4.0, -3.0, 2.0))
        moved = Space(other.space.spacing, shifted, other.space.direction)
        together = main({"portal": portal, "arterial": vg.Volume(other.array, moved, "arterial")})
        difference = abs(together["arterial"].array.astype(float) - portal.array)[20:-20, 20:-20, 20:-20]
        before = abs(vg.resample_like(vg.Volume(other.array, moved), portal).array - portal.array)[20:-20, 20:-20, 20:-20]
        print(f"mean difference {before.mean():.1f} HU before, {difference.mean():.1f} HU after")
        assert difference.mean() < before.mean()
