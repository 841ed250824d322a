"""Rules of the source text that no linter of ours checks."""

import ast
from pathlib import Path

import pytest

import vesselgraph
from vesselgraph import errors

PACKAGE = Path(vesselgraph.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
ERROR_NAMES = {name for name, value in vars(errors).items() if isinstance(value, type)}
# Python's own protocols: missing attributes, and argument errors of abstract methods.
ALLOWED_RAISES = ERROR_NAMES | {"AttributeError", "typer.Exit"}


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def functions_in(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def ids(path):
    return path.relative_to(PACKAGE).as_posix()


def dotted(node):
    if isinstance(node, ast.Call):
        return dotted(node.func)
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def caught_here(tree):
    return {inner for node in ast.walk(tree) if isinstance(node, ast.Try) for part in node.body for inner in ast.walk(part)}


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_only_own_errors_are_raised(path):
    tree = tree_of(path)
    caught = caught_here(tree)
    leaving = [node for node in ast.walk(tree) if isinstance(node, ast.Raise) and node not in caught]
    raised = {dotted(node.exc) for node in leaving if node.exc is not None}
    named = {name for name in raised if (name and name[0].isupper()) or "." in name}
    assert named <= ALLOWED_RAISES


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_public_functions_that_raise_say_so(path):
    silent = []
    for function in functions_in(path):
        own = [node for node in ast.walk(function) if isinstance(node, ast.Raise) and node.exc is not None]
        if own and not function.name.startswith("_") and "Raises" not in (ast.get_docstring(function) or ""):
            silent.append(function.name)
    assert silent == []


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_printing_happens_in_the_command_line_only(path):
    calls = {dotted(node) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)}
    printing = {name for name in calls if name in {"print", "typer.echo", "sys.stdout.write", "sys.stderr.write"}}
    assert not printing or path.parent.name == "cli"


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_own_modules_are_imported_at_the_top(path):
    inside = []
    for function in functions_in(path):
        for node in ast.walk(function):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            inside += [name for name in names if name.split(".")[0] == "vesselgraph"]
    assert inside == []


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_files_stay_readable(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    assert path.stem not in {"utils", "helpers", "misc", "common"}


def test_error_tree_has_one_base_and_input_errors_are_value_errors():
    classes = [getattr(errors, name) for name in ERROR_NAMES]
    assert all(issubclass(one, errors.VesselGraphError) for one in classes)
    assert all(issubclass(one, ValueError) for one in classes if issubclass(one, errors.InputError))


def test_input_errors_keep_their_three_parts():
    error = errors.FormatError("a", "b", "c")
    assert (error.expected, error.got, error.do) == ("a", "b", "c")
    assert str(error) == "expected a; got b; c"
