"""Means with intervals over cases, and the picture of scores."""

import math

import numpy as np
import pytest

from tests.metrics.drawn import graph_of, line, random_tree, taken
from vesselgraph import compare_graphs
from vesselgraph.errors import InputError, RangeError
from vesselgraph.metrics import draw_scores, evaluate_graphs, figures, mean_interval, summarise

STRAIGHT = graph_of(line((0, 0, 0), (10, 0, 0)))


def test_interval_of_ten_cases_against_the_normal_one():
    values = np.random.default_rng(0).normal(0.7, 0.1, 40)
    interval = mean_interval(values, n_resamples=20_000)
    half = 1.96 * values.std() / math.sqrt(40)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)
    assert mean_interval(values, level=0.5).high < interval.high


def test_interval_of_two_cases_is_spanned_by_them():
    interval = mean_interval([0.2, 0.6])
    assert (interval.mean, interval.low, interval.high, interval.n) == (pytest.approx(0.4), 0.2, 0.6, 2)


def test_undefined_cases_are_left_out_and_one_case_has_no_interval():
    one = mean_interval([np.nan, 0.5])
    assert (one.mean, one.n) == (0.5, 1)
    assert one.to_dict() == {"mean": 0.5, "low": None, "high": None, "n": 1}
    assert mean_interval([]).to_dict() == {"mean": None, "low": None, "high": None, "n": 0}


@pytest.mark.parametrize("wrong", [{"level": 1.0}, {"n_resamples": 0}])
def test_interval_settings_are_checked(wrong):
    with pytest.raises(RangeError, match="a level in"):
        mean_interval([1.0, 2.0], **wrong)


def test_summary_by_dotted_names():
    half = graph_of(line((0, 0, 0), (5, 0, 0)))
    cases = [evaluate_graphs(graph, STRAIGHT) for graph in (STRAIGHT, half)]
    summary = summarise(cases)
    assert summary["centerline.2.recall"].mean == pytest.approx(0.75)
    assert summary["netmets.gfpr"].mean == 0.0
    assert summary["betti.error.1"].n == 2
    # Neither graph has a tree column.
    assert (summary["identity"].n, math.isnan(summary["identity"].mean)) == (0, True)
    assert not any(name.startswith("settings") for name in summary)


def test_a_figure_only_some_cases_have():
    summary = summarise([{"recall": {"1": 0.5}}, {"recall": {"1": 0.7, "2": 1.0}}])
    assert (summary["recall.1"].n, summary["recall.2"].n) == (2, 1)


def test_further_metrics_are_chosen_by_name():
    assert set(evaluate_graphs(STRAIGHT, STRAIGHT, further=[])) == set(compare_graphs(STRAIGHT, STRAIGHT).to_dict())
    assert evaluate_graphs(STRAIGHT, STRAIGHT, further=["street_mover"])["street_mover"] == 0.0
    everything = evaluate_graphs(STRAIGHT, STRAIGHT)
    assert {"street_mover", "netmets", "diadem", "recall_by_order", "rivulet"} <= set(everything)
    with pytest.raises(InputError, match=r"metrics out of street_mover, netmets.*; got smd"):
        evaluate_graphs(STRAIGHT, STRAIGHT, further=["smd"])


def test_names_of_figures_are_stable_under_order():
    tree = random_tree(0)
    assert list(figures(evaluate_graphs(tree, tree))) == list(figures(evaluate_graphs(taken(tree, range(9)), tree)))


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_figure_formats(suffix, start, tmp_path):
    cases = [compare_graphs(graph, STRAIGHT).to_dict() for graph in (STRAIGHT, graph_of(line((0, 0, 0), (5, 0, 0))))]
    draw_scores(cases, tmp_path / f"scores{suffix}", title="half")
    assert (tmp_path / f"scores{suffix}").read_bytes().startswith(start)


def test_figure_refuses_no_cases_and_unknown_formats(tmp_path):
    with pytest.raises(InputError, match="at least one case"):
        draw_scores([], tmp_path / "a.png")
    with pytest.raises(InputError, match="a picture file"):
        draw_scores([compare_graphs(STRAIGHT, STRAIGHT).to_dict()], tmp_path / "a.docx")
