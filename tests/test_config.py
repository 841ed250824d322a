from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vesselgraph.cli.describing import commented_toml, configuration_page
from vesselgraph.config import PhantomConfig, PipelineConfig
from vesselgraph.errors import ConfigError
from vesselgraph.stage_config import StageConfig

ROOT = Path(__file__).resolve().parents[1]
SECTIONS = [*(type(value) for _, value in PipelineConfig() if isinstance(value, StageConfig)), PhantomConfig]


def test_toml_round_trip(tmp_path):
    config = PipelineConfig.build({"heatmap": {"step": 0.7}, "max_memory_gb": 3.0})
    (tmp_path / "recipe.toml").write_text(config.to_toml())
    assert PipelineConfig.from_toml(tmp_path / "recipe.toml") == config


def test_commented_toml_is_a_recipe_of_the_same_config(tmp_path):
    config = PipelineConfig.build({"heatmap": {"step": 0.7}})
    (tmp_path / "recipe.toml").write_text(commented_toml(config))
    assert PipelineConfig.from_toml(tmp_path / "recipe.toml") == config


def test_override_wins_over_recipe(tmp_path):
    (tmp_path / "recipe.toml").write_text("[heatmap]\nstep = 2.0\nmin_radius = 1.5\n")
    config = PipelineConfig.from_toml(tmp_path / "recipe.toml", ["heatmap.step=0.5"])
    assert (config.heatmap.step, config.heatmap.min_radius) == (0.5, 1.5)


@pytest.mark.parametrize("text", ["heatmap.polarity=dark", 'heatmap.polarity="dark"', " heatmap.polarity = dark"])
def test_text_values_need_no_quotes(text):
    assert PipelineConfig.build(overrides=[text]).heatmap.polarity == "dark"


def test_arrays_can_be_overridden():
    assert PhantomConfig.build(overrides=["spacing=[2, 1, 1]"]).spacing == (2.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("heatmap.stepp=1", r"heatmap\.stepp: .*got 1"),
        ("heatmap.step=-1", r"heatmap\.step: .*greater than 0.*got -1"),
        ("heatmap.polarity=grey", r"heatmap\.polarity: .*'bright' or 'dark'"),
        ("heatmap.step", "write stage.key=value"),
        ("=3", "write stage.key=value"),
        ("max_memory_gb.x=3", "max_memory_gb"),
        ("nothing.at=1", "nothing"),
        ("prune.weights=mine.safetensors", r'expected prune: weights with method = "learned" or "auto" only; got "rules"; set'),
        ("prune.least_recall=0.9", r'expected prune: least_recall with method = "learned" or "auto" only; got "rules"; set'),
        ("trace.gap_rule=true", r"expected trace: gap_rule, .* only; got gap_rule True, .*; set the method"),
    ],
)
def test_wrong_override_is_refused_by_name(override, words):
    with pytest.raises(ConfigError, match=words):
        PipelineConfig.build(overrides=[override])


def test_override_below_a_value_is_refused():
    with pytest.raises(ConfigError, match=r"write stage\.key=value"):
        PipelineConfig.build({"max_memory_gb": 3}, ["max_memory_gb.x=3"])


@pytest.mark.parametrize("content", [b"[heatmap\n", b"\xff\xfe", b"heatmap = 3\n"])
def test_broken_recipe_is_refused(tmp_path, content):
    (tmp_path / "recipe.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"recipe|settings"):
        PipelineConfig.from_toml(tmp_path / "recipe.toml")


def test_missing_recipe_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        PipelineConfig.from_toml(tmp_path / "none.toml")


def test_config_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        PipelineConfig().max_memory_gb = 1.0  # type: ignore[misc]


def test_build_leaves_its_input_alone():
    values = {"heatmap": {"step": 2.0}}
    PipelineConfig.build(values, ["heatmap.step=0.5"])
    assert values == {"heatmap": {"step": 2.0}}


@given(st.floats(0.1, 5.0), st.floats(0.1, 5.0))
def test_digest_tells_values_apart(first, second):
    one, two = (PipelineConfig.build({"heatmap": {"step": step}}) for step in (first, second))
    assert (one.digest() == two.digest()) == (first == second)
    assert len(one.digest()) == 12


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_setting_says_what_it_means(section):
    assert section.__doc__
    for name, field in section.model_fields.items():
        assert field.description, name


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_length_says_mm(section):
    for name, field in section.model_fields.items():
        if name.endswith(("radius", "length", "spacing", "step", "margin")) and not name.startswith("n_"):
            assert "mm" in field.description, name


def test_configuration_page_is_up_to_date():
    assert (ROOT / "docs/configuration.md").read_text() == configuration_page(), (
        "run: vesselgraph config --markdown > docs/configuration.md"
    )
