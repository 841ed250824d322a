"""Memory and processor time of encoders and of a classifier on a large CT: 300 slices of 512 x 512.

Each line is a process of its own, whose peak is told beyond what it holds once encoder, image and a warm-up are there. One
thread. Astra is the real chest-CT network with random weights, as the memory does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Clock, Row, arguments, finish, print_table

from vesselgraph.config import SliceConfig, TileConfig
from vesselgraph.encoders import encode_volume, random_encoder
from vesselgraph.imaging import load_classifier, train_classifier
from vesselgraph.imaging_config import TrainClassifierConfig
from vesselgraph.io import write_image
from vesselgraph.space import Space
from vesselgraph.volume import Volume

LITE, ASTRA = "efficientnet-lite0", "astra-resnet152"
Look = Callable[[Volume], object]


def main() -> None:
    args = arguments(__doc__ or "", seeds=(0,), more=_options)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.folder or temporary)
        if args.case:
            print(json.dumps(_measured(args, folder)))
            return
        rows = []
        # A classifier and a 3-D network show that it runs.
        for case in list(CASES)[4:6] if args.small else CASES:
            command = [sys.executable, __file__, "--case", case, "--folder", str(folder), *(["--small"] if args.small else [])]
            done = subprocess.run(
                command, capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
            )
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(rows[-1], flush=True)
    print_table("Peak beyond encoder and image", rows)
    finish(args, "encoder_memory", {"rows": rows})


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--case", choices=list(CASES), help="measure this line alone, in this process")
    parser.add_argument("--folder", help="where the classifier is kept; by default nowhere")


def _summaries(chunk: int, folder: Path) -> Look:
    del folder
    encoder = random_encoder(LITE, seed=0, config=SliceConfig(chunk=chunk))

    def look(volume: Volume) -> object:
        with torch.no_grad():
            return encoder.summaries(torch.tensor(volume.array, dtype=torch.float32)[None, None])  # type: ignore[operator]

    return look


def _maps(name: str, config: SliceConfig | TileConfig, folder: Path) -> Look:
    del folder
    return partial(encode_volume, random_encoder(name, seed=0, config=config))


def _classifier(heat: bool, folder: Path) -> Look:
    weights = folder / "run" / "classifier.safetensors"
    if not weights.is_file():
        rng, names = np.random.default_rng(0), [f"{number}.nii.gz" for number in range(8)]
        for name in names:
            write_image(Volume(rng.normal(40, 30, (4, 64, 64)).astype(np.float32), Space.axial((1.0, 0.7, 0.7))), folder / name)
        lines = [f"{name},{number % 2},{'test' if number > 5 else 'train'}" for number, name in enumerate(names)]
        (folder / "cases.csv").write_text("\n".join(["image,finding,split", *lines]), encoding="utf-8")
        settings = {"manifest": str(folder / "cases.csv"), "n_epochs": 2, "n_resamples": 10}
        train_classifier(TrainClassifierConfig.build(settings), folder / "run")
    classifier = load_classifier([weights])
    return lambda volume: classifier.classify(volume, heat="auto" if heat else None)


CASES: dict[str, Callable[[Path], Look]] = {
    "EfficientNet-Lite0, vectors of slices, 8 at once": partial(_summaries, 8),
    "EfficientNet-Lite0, vectors of slices, 32 at once": partial(_summaries, 32),
    "EfficientNet-Lite0, all maps in half precision, 8 at once": partial(_maps, LITE, SliceConfig(half=True)),
    "classify, 8 at once": partial(_classifier, False),
    "classify with heat, 8 at once": partial(_classifier, True),
    "Astra's ResNet-152, whole": partial(_maps, ASTRA, TileConfig()),
    "Astra's ResNet-152, tiles of 96 with a margin of 32": partial(_maps, ASTRA, TileConfig(tile=96, margin=32)),
}


def _measured(args: argparse.Namespace, folder: Path) -> Row:
    torch.set_num_threads(1)
    shape = (8, 96, 96) if args.small else (300, 512, 512)
    look = CASES[args.case](folder)
    rng = np.random.default_rng(0)
    # What is loaded at the first use is not of the image.
    look(Volume(rng.normal(40, 30, (2, 64, 64)).astype(np.float32), Space.axial((1.5, 0.7, 0.7))))
    noise = rng.integers(-200, 300, (8, *shape[1:]), dtype=np.int16)
    image = Volume(np.resize(noise, shape), Space.axial((1.5, 0.7, 0.7)))
    with Clock() as clock:
        answer: Any = look(image)
    del answer
    return {"of": args.case, "GB": clock.memory / 1e9, "CPU s": clock.cpu}


if __name__ == "__main__":
    main()
