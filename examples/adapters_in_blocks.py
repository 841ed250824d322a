"""Let a task change a shared image network from within: LoRA inside its blocks, beside a task that leaves it as it is.

    python examples/slabs_of_ct.py --image CT.nii.gz --mask portal=PORTAL.nii.gz --out SLABS
    python examples/adapters_in_blocks.py SLABS/slabs.csv OUT [n_epochs=40 ...]

Both tasks live on one network in memory, and the second must not move the first. Installed weights are those of a convolutional
network, whose 1 x 1 convolutions are adapted; with `encoder=dinov2-base weights=FILE sha256=DIGEST` it is every attention
projection and the patches. Gradients run through the network: minutes on a processor. Without arguments: a generated CT.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from adapters_on_slabs import told
from slabs_of_ct import generated

import vesselgraph as vg
from vesselgraph.imaging import Classifier, train_classifier
from vesselgraph.imaging.cases import read_case_list
from vesselgraph.imaging.looking import load_backbone
from vesselgraph.imaging.weights import load_task
from vesselgraph.imaging_config import TrainClassifierConfig

ARMS = {
    "frozen": ["plugin.adapter=none"],
    "LoRA in the blocks": ["plugin.adapter=lora", "plugin.place=blocks", "plugin.rank=4"],
}


def main(manifest: Path, out: Path, *settings: str) -> dict[str, float]:
    configs = [
        TrainClassifierConfig.build(overrides=[f"manifest={manifest}", "n_epochs=20", *arm, *settings]) for arm in ARMS.values()
    ]
    backbone, found = load_backbone(configs[0]), {}
    classifier, said = Classifier(backbone), []
    shown = vg.read_image(next(iter(read_case_list(manifest).of("test")[0].images.values())))
    for name, config in zip(ARMS, configs, strict=True):
        training = train_classifier(config, out / name.replace(" ", "-"), backbone=backbone)
        found[name] = told(name, training)
        classifier.add(name, *load_task(training.weights, backbone)[::2])
        said.append(classifier.classify(shown, "frozen").probability)
    assert np.array_equal(*said), "one task moved the other"
    return found


if __name__ == "__main__":
    if len(sys.argv) > 2:
        main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
    else:
        with tempfile.TemporaryDirectory() as scratch:
            auc = main(generated(Path(scratch) / "slabs"), Path(scratch), "n_epochs=8", "n_resamples=10", "slices.scale=2")
        # Sixteen pieces to learn from in eight passes: better than chance, no more.
        assert min(auc.values()) > 0.55
