"""Compare what is learned beside a frozen image network: nothing, LoRA, LoRA with as many parameters, a mixture of experts.

    python examples/slabs_of_ct.py --image CT.nii.gz --mask portal=PORTAL.nii.gz --out SLABS
    python examples/adapters_on_slabs.py SLABS/slabs.csv OUT

All four see the same pieces and start from the same answer. Adapters stand on the slices' vectors, so that no gradient runs
through the network and a processor is enough. Without arguments it takes a small generated CT.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from slabs_of_ct import generated

from vesselgraph.imaging import ClassifierTraining, train_classifier
from vesselgraph.imaging.looking import load_backbone
from vesselgraph.imaging_config import TrainClassifierConfig

ARMS = {
    "frozen": ["adapter=none"],
    "LoRA, rank 8": ["adapter=lora", "rank=8"],
    # Six experts of rank 8 and their router, 533,000 parameters on 1,280 channels, are a rank of 208.
    "LoRA, as many parameters": ["adapter=lora", "rank=208"],
    "MoLRE, 6 experts of rank 8": ["adapter=molre", "rank=8"],
}


def main(manifest: Path, out: Path, *settings: str) -> dict[str, float]:
    common = [f"manifest={manifest}", "n_epochs=80", "plugin.place=tokens", *settings]
    backbone, found = load_backbone(TrainClassifierConfig.build(overrides=common)), {}
    for name, plugin in ARMS.items():
        config = TrainClassifierConfig.build(overrides=[*common, *(f"plugin.{one}" for one in plugin)])
        training = train_classifier(config, out / name.replace(" ", "-").replace(",", ""), backbone=backbone)
        found[name] = told(name, training)
    return found


def told(name: str, training: ClassifierTraining) -> float:
    labels = {label: row["auc"] for label, row in training.scores.items() if "ece" in row}
    print(f"{name}: {training.n_parameters} parameters; AUC", ", ".join(f"{key} {auc:.3f}" for key, auc in labels.items()))
    return float(np.mean(list(labels.values())))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
    else:
        with tempfile.TemporaryDirectory() as scratch:
            quick = ("n_resamples=10", "slices.scale=3")
            said = main(generated(Path(scratch) / "slabs"), Path(scratch), *quick)
        assert len(said) == len(ARMS)
        # Sixteen pieces to learn from are too few for the other three, which lose.
        assert said["frozen"] > 0.75
