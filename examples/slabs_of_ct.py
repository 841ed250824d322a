"""Cut a CT and its masks into small pieces with a manifest: what classifiers of images are trained and tried on.

    python examples/slabs_of_ct.py --image CT.nii.gz --mask portal=PORTAL.nii.gz --mask tumour=TUMOUR.nii.gz --out OUT

Every mask becomes a finding: does it fill more than 0.2 % of the piece, two slices thick and a third of the image wide? Every
fourth pair of slices is for judging, its neighbours are left out. Without arguments it takes a small generated CT.
"""

import argparse
import csv
import tempfile
from pathlib import Path

import vesselgraph as vg
from vesselgraph.config import PhantomConfig

PLANES = 2


def main(ct: vg.Volume, masks: dict[str, vg.Volume], out: Path, share: float = 0.002, tiles: int = 3) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    rows, side = [], [n // tiles for n in ct.shape[1:]]
    for number, first in enumerate(range(0, ct.shape[0] - PLANES + 1, PLANES)):
        split = {0: "train", 2: "test"}.get(number % 4)
        for tile in range(tiles**2 if split else 0):
            low = (first, tile // tiles * side[0], tile % tiles * side[1])
            high = (first + PLANES, low[1] + side[0], low[2] + side[1])
            piece, name = ct.crop(low, high), f"{number}-{tile}.nii.gz"
            # Nothing but air says nothing.
            if piece.array.max() > -200:
                vg.write_image(piece, out / name)
                found = {key: int((mask.crop(low, high).array > 0).mean() > share) for key, mask in masks.items()}
                rows.append({"case": f"{number}-{tile}", "image": name, "split": split, **found})
    with (out / "slabs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} pieces, with {', '.join(f'{key} in {sum(row[key] for row in rows)}' for key in masks)}")
    return out / "slabs.csv"


def generated(out: Path) -> Path:
    phantom = vg.make_phantom(PhantomConfig(shape=(128, 64, 64), n_tips=6))
    return main(phantom.image, {"organ": phantom.organ_mask}, out, share=0.3, tiles=1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--image", help="a CT, file or DICOM folder")
    parser.add_argument("--mask", action="append", default=[], help="NAME=FILE of a finding; may be repeated")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if asked.image:
        image = vg.read_image(asked.image)
        drawn = {key: vg.read_mask(path) for key, path in (one.split("=", 1) for one in asked.mask)}
        main(image, {key: vg.resample_like(one, image, interpolation="nearest") for key, one in drawn.items()}, asked.out)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            assert len(generated(Path(scratch)).read_text().splitlines()) == 33
