"""What importing the package loads, and that its public names are there."""

import ast
import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import vesselgraph

HEAVY = ("torch", "torch_geometric", "vtk", "vtkmodules", "matplotlib", "numba", "skimage", "SimpleITK", "trimesh")


def loaded_by(statement):
    code = f"{statement}\nimport json, sys\nprint(json.dumps([n for n in {HEAVY!r} if n in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("statement", ["import vesselgraph", "import vesselgraph.cli", "import vesselgraph.io"])
def test_light_imports_load_no_heavy_library(statement):
    assert loaded_by(statement) == []


def test_reading_an_image_loads_neither_torch_nor_vtk():
    assert not {"torch", "vtk", "vtkmodules"} & set(loaded_by("import vesselgraph as vg; vg.read_image"))


def test_whole_pipeline_loads_no_torch():
    assert "torch" not in loaded_by("import vesselgraph as vg; vg.reconstruct; vg.write_results")


@pytest.mark.parametrize("name", vesselgraph.__all__)
def test_public_name_exists(name):
    assert getattr(vesselgraph, name) is not None


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(vesselgraph.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == vesselgraph._HOME


def test_unknown_name_raises():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vesselgraph.nothing


def test_dir_lists_the_public_names():
    assert set(vesselgraph.__all__) <= set(dir(vesselgraph))


MODULES = [m.name for m in pkgutil.walk_packages(vesselgraph.__path__, "vesselgraph.") if not m.name.endswith("__main__")]


@pytest.mark.parametrize("name", MODULES)
def test_every_name_in_all_exists(name):
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", ()):
        assert getattr(module, public) is not None
