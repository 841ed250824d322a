"""The learned verdict in the stage: weights on disk, features that must fit, and what a graph must come from."""

import json

import numpy as np
import pytest
import torch

from tests.pruning.test_branch_graph import traced
from vesselgraph.config import PruneConfig
from vesselgraph.errors import CheckpointError, InputError
from vesselgraph.heatmap.weights import SHIPPED as SHIPPED_NETWORK
from vesselgraph.heatmap.weights import read_card as read_network_card
from vesselgraph.pruner_config import TrainPrunerConfig
from vesselgraph.pruning import choose_judge, judge, prune, require_pruner
from vesselgraph.pruning.branch_graph import build_branch_graph
from vesselgraph.pruning.features import piece_features
from vesselgraph.pruning.learning import PrunerCase, _loss, fit_pruner, make_model
from vesselgraph.pruning.surroundings import Surroundings
from vesselgraph.pruning.weights import PrunerCard, load_pruner, read_card, save_pruner
from vesselgraph.space import Space
from vesselgraph.volume import Heatmap, Volume

GROUPS = ("heat", "geometry", "position", "evidence")
RECIPE = TrainPrunerConfig(
    width=8, n_layers=1, n_heads=2, n_epochs=40, rate=2e-2, dropout=0.0, feature_noise=0.0, groups=GROUPS
)


def vessels(seed):
    """Return hot and cold vessels of 40 mm each, side by side; the hot ones are real."""
    rng = np.random.default_rng(seed)
    rows = [([0, 12.0 * k, 0], [40, 12.0 * k, 0]) for k in range(10)]
    graph = traced(rows)
    heat = np.where(rng.random(10) < 0.5, rng.uniform(0.6, 0.9, 10), rng.uniform(0.1, 0.3, 10))
    columns = {"mean_heat": heat, "min_heat": heat}
    return graph.with_columns(edge=columns, path={"heat": heat[graph.edge_of_point]}), heat > 0.5


def case_of(seed):
    graph, real = vessels(seed)
    branches = build_branch_graph(graph, RECIPE.piece_length)
    features, names = piece_features(branches, Surroundings(), GROUPS)
    presence = real[branches.branch].astype(np.float32)
    length = branches.pieces.edge_length.astype(np.float32)
    return PrunerCase(features, branches.link, branches.relation, presence, length), names


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.set_num_threads(1)
    cases = [case_of(seed) for seed in range(5)]
    fit = fit_pruner([case for case, _ in cases[:4]], [cases[4][0]], RECIPE)
    recipe = RECIPE.model_dump(mode="json", exclude_none=True)
    card = PrunerCard(features=cases[0][1], heat="ridge", temperature=fit.temperature, min_presence=0.5, recipe=recipe)
    path = tmp_path_factory.mktemp("weights") / "pruner.safetensors"
    save_pruner(fit, card, path)
    return path


def learned(path, **settings):
    return PruneConfig(method="learned", weights=str(path), **settings)


def test_real_branches_stay_and_carry_presence(weights):
    graph, real = vessels(7)
    judged = judge(graph, learned(weights))
    mine = (judged.path_position[judged.path_offset[:-1], 1] / 12.0).round().astype(int)
    np.testing.assert_array_equal(judged.edge_data["keep"], real[mine])
    assert judged.edge_data["presence"][real[mine]].min() > 0.5 > judged.edge_data["presence"][~real[mine]].max()
    assert set(judged.edge_data["reason"]) == {"kept", "judged not real"}
    pruned = prune(judged, learned(weights))
    assert pruned.n_edges == real.sum()
    assert {"presence", "tree_id", "score"} <= set(pruned.edge_data)
    assert judged.edge_data["score"] == pytest.approx(judged.edge_data["presence"])


def test_a_threshold_of_the_user_wins_over_that_of_the_card(weights):
    graph, real = vessels(7)
    assert judge(graph, learned(weights, min_presence=0.999999)).edge_data["keep"].sum() == 0
    assert judge(graph, learned(weights, least_recall=0.999)).edge_data["keep"].sum() >= real.sum()


def test_weights_survive_the_disk(weights):
    fit, card = load_pruner(weights)
    case, names = case_of(9)
    assert card.features == names
    assert card.settings == RECIPE
    again, _ = load_pruner(weights)
    np.testing.assert_array_equal(fit.presence(case), again.presence(case))


def test_missing_weights_are_found_before_work_starts(tmp_path):
    require_pruner(PruneConfig())
    with pytest.raises(CheckpointError, match=r"nothing at .*train some with `vesselgraph train pruner`"):
        require_pruner(learned(tmp_path / "none.safetensors"))


def test_heat_of_another_kind_is_refused_before_work_starts(weights):
    for heat in ("ridge", "auto", ""):
        require_pruner(learned(weights), heat)
    with pytest.raises(InputError, match=r"ridge heat.*'network'.*prune.method"):
        require_pruner(learned(weights), "network")
    require_pruner(PruneConfig(), "network")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"sha256": "0" * 64}, "SHA-256"),
        ({"kind": "heatmap"}, "pruner weights; got heatmap weights"),
        ({"version": 9}, "version 9"),
        ({"features": ["heat.mean"]}, "model the card describes"),
        ({"surprise": 1}, "keep the .safetensors and the .json together"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(weights, tmp_path, change, match):
    card = json.loads(weights.with_suffix(".json").read_text())
    (tmp_path / "w.safetensors").write_bytes(weights.read_bytes())
    (tmp_path / "w.json").write_text(json.dumps({**card, **change}))
    with pytest.raises(CheckpointError, match=match):
        require_pruner(learned(tmp_path / "w.safetensors"))


def test_other_features_or_another_heat_are_refused(weights, tmp_path):
    graph, _ = vessels(7)
    card = json.loads(weights.with_suffix(".json").read_text())
    (tmp_path / "w.safetensors").write_bytes(weights.read_bytes())
    (tmp_path / "w.json").write_text(json.dumps({**card, "features": ["heat.other", *card["features"][1:]]}))
    with pytest.raises(CheckpointError, match=r"heat\.mean, heat\.other"):
        judge(graph, learned(tmp_path / "w.safetensors"))
    grid = Volume(np.zeros((3, 3, 3), np.float32), Space.axial())
    with pytest.raises(InputError, match=r"traced from ridge heat.*one from network"):
        judge(graph, learned(weights), heatmap=Heatmap(grid, source="network"))
    with pytest.raises(InputError, match=r"with abc.*train the pruner again"):
        judge(graph, learned(weights), heatmap=Heatmap(grid, weights="abc"))
    with pytest.raises(InputError, match="one from a mask"):
        judge(graph.with_columns(edge={"wall_step": np.zeros(graph.n_edges)}), learned(weights))


def test_the_shipped_weights_are_whole_and_know_the_shipped_network():
    _, card = load_pruner()
    assert card.heat_weights == read_network_card(SHIPPED_NETWORK).sha256, "train the pruner again: `vesselgraph train pruner`"
    assert card.scores["f1"] > card.scores["f1_rules"]
    require_pruner(PruneConfig(method="learned"), "network")


def test_auto_takes_the_learned_judge_for_heat_of_its_network_alone():
    graph = vessels(7)[0]
    seen = graph.with_columns(path={"contrast": np.ones(graph.n_points)})
    grid = Volume(np.zeros((3, 3, 3), np.float32), Space.axial())
    auto, known = PruneConfig(method="auto"), Heatmap(grid, source="network", weights=read_card().heat_weights)
    assert choose_judge(auto, seen, grid, known) == (
        "learned", "The heat is that of the network the learned pruner was trained with."
    )  # fmt: skip
    assert choose_judge(auto, seen, grid, Heatmap(grid, source="ridge"))[0] == "rules"
    assert "another network" in choose_judge(auto, seen, grid, Heatmap(grid, source="network", weights="abc"))[1]
    assert "without an image" in choose_judge(auto, seen, None, known)[1]
    assert "without an image" in choose_judge(auto, graph, grid, known)[1]
    for method in ("rules", "learned"):
        assert choose_judge(PruneConfig(method=method), seen, grid, known) == (method, "As asked for.")
    # Without a heatmap nothing is known of the heat: the rules judge.
    assert "presence" not in judge(graph, auto).edge_data


def test_named_weights_are_checked_before_work_starts_with_auto_too(weights, tmp_path):
    require_pruner(PruneConfig(method="auto", weights=str(weights)), "network")
    with pytest.raises(CheckpointError, match="nothing at"):
        require_pruner(PruneConfig(method="auto", weights=str(tmp_path / "none.safetensors")), "auto")


@pytest.mark.parametrize("kind", ["attention", "perceptron"])
def test_evidence_gives_a_branch_probability_and_uncertainty(tmp_path, kind):
    torch.set_num_threads(1)
    recipe = RECIPE.model_copy(update={"head": "evidence"})
    cases = [case_of(seed) for seed in range(5)]
    fit = fit_pruner([case for case, _ in cases[:4]], [cases[4][0]], recipe, kind=kind)
    told = {"features": cases[0][1], "heat": "ridge", "temperature": fit.temperature, "min_presence": 0.5}
    card = PrunerCard(model=kind, recipe=recipe.model_dump(mode="json", exclude_none=True), **told)
    save_pruner(fit, card, tmp_path / "pruner.safetensors")
    graph, real = vessels(7)
    judged = judge(graph, learned(tmp_path / "pruner.safetensors"))
    mine = (judged.path_position[judged.path_offset[:-1], 1] / 12.0).round().astype(int)
    np.testing.assert_array_equal(judged.edge_data["keep"], real[mine])
    doubt = judged.edge_data["uncertainty"]
    assert (doubt > 0).all()
    assert (doubt < 1).all()
    kept = prune(judged, learned(tmp_path / "pruner.safetensors"))
    assert 0 < kept.edge_data["uncertainty"].max() < 1


def test_a_label_between_is_both_answers_each_with_its_share():
    torch.manual_seed(0)
    raw, (case, _) = torch.randn(3, 2), case_of(0)
    part = {name: getattr(case, name) for name in ("features", "link", "relation")}
    one, two, half = (
        PrunerCase(**part, presence=np.full(3, value, np.float32), length=np.ones(3, np.float32)) for value in (0.0, 1.0, 0.5)
    )
    assert float(_loss(raw, half, 0.3)) == pytest.approx(0.5 * float(_loss(raw, one, 0.3) + _loss(raw, two, 0.3)))


def test_a_logit_has_no_uncertainty_and_the_baseline_no_evidence(weights):
    assert load_pruner(weights)[0].uncertainty(case_of(9)[0]) is None
    assert "uncertainty" not in judge(vessels(7)[0], learned(weights)).edge_data
    with pytest.raises(InputError, match="head = logit for zhang2020"):
        make_model("zhang2020", 4, RECIPE.model_copy(update={"head": "evidence"}))
