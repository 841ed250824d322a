import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vesselgraph.config import PipelineConfig, TrainHeatmapConfig
from vesselgraph.imaging_config import TrainClassifierConfig
from vesselgraph.pruner_config import TrainPrunerConfig
from vesselgraph.pruning.weights import read_card

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_example_runs_and_its_number_holds(script, tmp_path, tmp_path_factory):
    # PyTorch makes the folder of its compiler's cache when an optimiser is first used; it is no leftover of the example.
    compiled = tmp_path_factory.mktemp("compiled")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path), "TORCHINDUCTOR_CACHE_DIR": str(compiled)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_example_is_short_and_asserts(script):
    text = script.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(text)))


@pytest.mark.parametrize("recipe", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_recipe_is_valid_and_changes_something(recipe):
    kinds = {"train-heatmap": TrainHeatmapConfig, "train-pruner": TrainPrunerConfig, "train-classifier": TrainClassifierConfig}
    kind = next((kind for start, kind in kinds.items() if recipe.stem.startswith(start)), PipelineConfig)
    settings = kind.from_toml(recipe)
    if recipe.stem == "train-pruner":
        # Spelled out: the recipe of the weights that ship, whatever the defaults become.
        assert settings == read_card().settings
    else:
        assert settings != kind()
