"""``vesselgraph info`` and ``vesselgraph config``: what is installed, and every setting with its default."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from types import MappingProxyType
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo

from vesselgraph.cli.frame import ConfigOption, SetOption, load_config
from vesselgraph.config import HeatmapConfig, PhantomConfig, PipelineConfig, StudyRanges, TraceConfig, TrainHeatmapConfig
from vesselgraph.imaging_config import TrainClassifierConfig
from vesselgraph.provenance import machine, versions
from vesselgraph.pruner_config import TrainPrunerConfig
from vesselgraph.stage_config import StageConfig

_OPTIONAL = ("nibabel", "itk", "skan", "kimimaro", "hypothesis", "pytest")
_READS = {
    "image": ["DICOM folder", ".nii", ".nii.gz", ".nrrd", ".mha", ".mhd"],
    "graph": [".vtp", ".json", ".swc", ".graphml"],
    "mesh": [".vtp", ".vtk", ".stl", ".obj", ".ply", ".glb"],
}


def info(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say which versions and capabilities are installed; loads none of them."""
    facts: dict[str, Any] = {
        "machine": machine(),
        "versions": versions(),
        "optional": {name: find_spec(name) is not None for name in _OPTIONAL},
        "backends": {"numba": find_spec("numba") is not None, "cuda": False},
        "formats": _READS,
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for group, values in facts.items():
        if isinstance(values, dict):
            typer.echo(group)
            for name, value in values.items():
                typer.echo(f"  {name:<16}{_word(value)}")


def _word(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return "yes" if value else "no"
    return ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)


def config(
    recipe: ConfigOption = None,
    overrides: SetOption = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the page docs/configuration.md instead.")] = False,
) -> None:
    """Print every setting as a TOML recipe that `--config` reads."""
    typer.echo(configuration_page() if markdown else commented_toml(load_config(recipe, overrides)), nl=False)


def commented_toml(values: PipelineConfig) -> str:
    """Return a config as TOML with the meaning and the range of every setting as comments."""
    lines: list[str] = []
    for name, field in type(values).model_fields.items():
        if not isinstance(getattr(values, name), StageConfig):
            lines += [f"# {_meaning(field)}", _assignment(values, name), ""]
    for name, section in values:
        if isinstance(section, StageConfig):
            lines += [f"# {_first_line(type(section))}", f"[{name}]"]
            for key, field in type(section).model_fields.items():
                lines += [f"# {_meaning(field)}", _assignment(section, key)]
            lines.append("")
    return "\n".join(lines)


def _assignment(section: StageConfig, key: str) -> str:
    import tomli_w

    value = section.model_dump(mode="json")[key]
    if value is None:
        return f"# {key} = (not set)"
    # tomli_w spreads arrays over lines, which reads badly between comments.
    return f"{key} = {json.dumps(value)}" if isinstance(value, list) else tomli_w.dumps({key: value}).strip()


def configuration_page() -> str:
    """Return ``docs/configuration.md``: one table a stage, made from the fields themselves."""
    lines = [
        "# Configuration",
        "",
        "Made by `vesselgraph config --markdown` from `vesselgraph/config.py`; do not edit. Bare lengths are millimetres.",
        "Set values in a TOML recipe (`--config recipe.toml`, one table a stage) or one at a time (`--set heatmap.step=0.8`).",
        "`vesselgraph config` prints a recipe with every default.",
    ]
    lines += ["", "## The whole run", "", *_table(_plain(PipelineConfig))]
    for name, field in PipelineConfig.model_fields.items():
        if _is_section(field):
            lines += ["", f"## [{name}]", "", _first_line(type(field.default)), "", *_table(type(field.default).model_fields)]
    lines += ["", "## Generated CT (`vesselgraph phantom --set key=value`)", "", _first_line(PhantomConfig), ""]
    lines += _table(PhantomConfig.model_fields)
    lines += _training("Training the heatmap network (`vesselgraph train heatmap --set key=value`)", TrainHeatmapConfig)
    known: dict[type[StageConfig], str] = {HeatmapConfig: "[heatmap]", TraceConfig: "[trace]", StudyRanges: "[studies]"}
    lines += _training("Training the pruner (`vesselgraph train pruner --set key=value`)", TrainPrunerConfig, known)
    lines += _training("Training a classifier (`vesselgraph train classifier --set key=value`)", TrainClassifierConfig)
    return "\n".join(lines) + "\n"


def _training(
    title: str, settings: type[StageConfig], known: Mapping[type[StageConfig], str] = MappingProxyType({})
) -> Iterator[str]:
    """Yield the lines about one training; sections of a ``known`` kind are only named, with what is different here."""
    yield from ("", f"## {title}", "", _first_line(settings), "", *_table(_plain(settings)))
    for name, field in settings.model_fields.items():
        if not _is_section(field):
            continue
        kind = type(field.default)
        yield from ("", f"### [{name}]", "")
        if kind in known:
            here = field.default.model_dump(exclude_defaults=True)
            changed = ", ".join(f"`{key} = {json.dumps(value)}`" for key, value in here.items())
            yield f"As `{known[kind]}` above" + (f", here with {changed}." if here else ".")
        else:
            yield from (_first_line(kind), "", *_table(kind.model_fields))


def _plain(section: type[StageConfig]) -> dict[str, FieldInfo]:
    return {name: field for name, field in section.model_fields.items() if not _is_section(field)}


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.default, StageConfig)


def _table(fields: dict[str, FieldInfo]) -> Iterator[str]:
    yield "| setting | default | allowed | meaning |"
    yield "|---|---|---|---|"
    for name, field in fields.items():
        default = field.get_default(call_default_factory=True)
        shown = json.dumps(default) if not isinstance(default, tuple) else json.dumps(list(default))
        yield f"| `{name}` | `{shown}` | {_range(field)} | {field.description or ''} |".replace("  ", " ")


def _meaning(field: FieldInfo) -> str:
    allowed = _range(field)
    return f"{field.description} ({allowed})" if allowed else str(field.description)


def _range(field: FieldInfo) -> str:
    """Return the allowed values of a field in words, empty if anything of its type goes."""
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    bounds = [f"{signs[key]} {getattr(rule, key):g}" for rule in field.metadata for key in signs if hasattr(rule, key)]
    if bounds:
        return " and ".join(bounds)
    choices = getattr(field.annotation, "__args__", ())
    return " or ".join(json.dumps(choice) for choice in choices if isinstance(choice, str))


def _first_line(section: type[StageConfig]) -> str:
    return (section.__doc__ or "").strip().splitlines()[0]
