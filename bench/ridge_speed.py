"""Time and memory of the heatmap of a 256 x 256 x 160 region against scikit-image's Frangi and ITK's objectness.

All three get the same voxels and the same number of scales over the same radii. The floor is what reading and writing the
region once a scale would cost at the memory bandwidth measured here.
"""

from __future__ import annotations

import time

import harness
import numpy as np
import peers
from harness import Clock

from vesselgraph.config import HeatmapConfig
from vesselgraph.heatmap import predict_heatmap
from vesselgraph.space import Space
from vesselgraph.volume import Volume

N_SCALES = 5
RADII = (1.4, 6.4)


def main() -> None:
    args = harness.arguments("Heatmap time of one region.", seeds=(0,))
    shape = (48, 64, 64) if args.small else (160, 256, 256)
    image = _image(shape, args.seeds[0])
    config = HeatmapConfig(n_scales=N_SCALES, min_radius=RADII[0], max_radius=RADII[1])
    default = HeatmapConfig()
    sigmas = tuple(float(s) for s in np.geomspace(*RADII, N_SCALES) / np.sqrt(2.0))
    tiny = Volume(image.array[:32, :32, :32], image.space)
    harness.warm_up(lambda: predict_heatmap(tiny, config), lambda: predict_heatmap(image, config))
    rows = [
        _measure(f"vesselgraph, {N_SCALES} scales", lambda: predict_heatmap(image, config)),
        _measure(f"vesselgraph, default ({default.n_scales} scales)", lambda: predict_heatmap(image, default)),
    ]
    skipped = {}
    for name, response_of in (("scikit-image Frangi", peers.frangi), ("ITK objectness", peers.objectness)):
        try:
            response_of(tiny.array.astype(np.float32), sigmas[:1])
            rows.append(
                _measure(f"{name}, {N_SCALES} scales", lambda call=response_of: call(image.array.astype(np.float32), sigmas))
            )
        except peers.PeerMissingError as error:
            skipped[name] = str(error)
            print(f"skipped {name}: {error}")
    for row in rows:
        row["CPU s / ours"] = row["CPU s"] / rows[0]["CPU s"]
        row["wall s / ours"] = row["wall s"] / rows[0]["wall s"]
    bandwidth = _bandwidth(args.small)
    moved = 2.0 * 4.0 * image.array.size * N_SCALES
    harness.print_table(f"Region of {' x '.join(map(str, shape))} voxels, 1 mm", rows)
    print(
        f"\nFloor: {moved / 1e9:.2f} GB read and written once a scale at {bandwidth / 1e9:.1f} GB/s = {moved / bandwidth:.2f} s"
        f" (ours takes {rows[0]['wall s'] / (moved / bandwidth):.0f} x that)."
    )
    harness.finish(args, "ridge_speed", {"rows": rows, "bandwidth": bandwidth, "skipped": skipped})


def _image(shape: tuple[int, int, int], seed: int) -> Volume:
    """Return noisy tubes; the time of no filter here depends on what the voxels show."""
    rng = np.random.default_rng(seed)
    array = rng.normal(105.0, 20.0, shape).astype(np.float32)
    _, rows, columns = np.indices(shape, sparse=True)
    for _ in range(20):
        row, column, radius = rng.uniform(0, shape[1]), rng.uniform(0, shape[2]), rng.uniform(*RADII)
        array += 55.0 * ((rows - row) ** 2 + (columns - column) ** 2 <= radius**2)
    return Volume(np.rint(array).astype(np.int16), Space.axial(), "tubes")


def _measure(name: str, call: object) -> dict[str, float | str]:
    with Clock() as clock:
        call()  # type: ignore[operator]
    return {"method": name, "CPU s": clock.cpu, "wall s": clock.wall, "peak MB over start": clock.memory / 1e6}


def _bandwidth(small: bool) -> float:
    """Return the bytes a second that copying a large array reads and writes; the best of five."""
    source = np.ones((4 if small else 32) * 2**20, dtype=np.float64)
    target = np.empty_like(source)
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - start)
    return 2.0 * source.nbytes / best


if __name__ == "__main__":
    main()
