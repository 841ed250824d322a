"""Memory follows the chunk or the tile, not the volume: what each pass adds to the highest memory of a process of its own."""

import json
import subprocess
import sys

import pytest

MEASURE = r"""
import json, re, sys
from pathlib import Path
import torch
from torch import nn
from vesselgraph.config import SliceConfig, TileConfig
from vesselgraph.encoders import random_encoder
from vesselgraph.encoders.card import EncoderCard, InputCard, MapCard
from vesselgraph.encoders.volumes import ConvEncoder
from vesselgraph.space import Space

torch.set_num_threads(1)
kind, passes = sys.argv[1], json.loads(sys.argv[2])

def peak():
    # That of getrusage would begin with what the parent had.
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1000

def slices(chunk):
    return random_encoder("efficientnet-lite0", seed=0, config=SliceConfig(chunk=chunk)).summaries

def tiles(side):
    # Wide inside, narrow outside: what the network needs is far more than its map.
    network = nn.Sequential(nn.Conv3d(1, 32, 3, padding=1), nn.Conv3d(32, 2, 8, 8))
    one = MapCard(name="a", channels=2, stride=(8, 8, 8), offset=(3.5, 3.5, 3.5))
    card = EncoderCard(name="a", title="a", kind="3d", source="a test", licence="none", commercial_use="yes",
                       input=InputCard(low=0, high=1, multiple=(8, 8, 8)), maps=(one,))
    encoder = ConvEncoder(network, card, lambda images: (network(images),), TileConfig(tile=side, margin=8))
    return lambda images: encoder.encode(images, [Space.axial()])

added = []
for bound, depth in passes:
    look = {"slices": slices, "tiles": tiles}[kind](bound)
    images = torch.zeros(1, 1, depth, 96, 96)
    # The volume and its scaled copies grow with the volume, so room for them is taken before.
    room = [torch.ones_like(images) for _ in range(5)]
    del room
    before = peak()
    with torch.no_grad():
        look(images)
    added.append(peak() - before)
print(json.dumps(added))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(("kind", "little", "much"), [("slices", 4, 48), ("tiles", 16, 96)])
def test_memory_follows_the_bound_and_not_the_volume(kind, little, much):
    passes = [(little, 8), (little, 96), (much, 96)]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, kind, json.dumps(passes)], capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr[-2000:]
    _, deeper, wider = json.loads(done.stdout)
    # Twelve times the volume adds next to nothing to the first pass; six to twelve times the bound adds much.
    assert wider > 60, done.stdout
    assert deeper < 0.25 * wider, done.stdout
