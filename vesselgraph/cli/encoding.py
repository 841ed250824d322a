"""``vesselgraph encoders``: which encoders there are, what is known of one, and whether its weights are right."""

from __future__ import annotations

import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from vesselgraph.encoders.card import EncoderCard
from vesselgraph.encoders.digests import checked_files, digest_of, weight_files
from vesselgraph.encoders.registry import CARDS, find_card

encoders = typer.Typer(
    help="Image encoders: list them, show a card, check weights. Nothing is ever downloaded.", no_args_is_help=True
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
NameArgument = Annotated[str, typer.Argument(help="Name of an encoder.")]


# The library a network is made by, and the extra that brings it.
_LIBRARIES = {"transformers": ("transformers", "encoders"), "timm": ("timm", "zoo"), "open-clip": ("open_clip", "zoo")}


def _here(card: EncoderCard) -> str:
    if not card.is_constructible:
        return "card only"
    library, extra = _LIBRARIES.get(card.builder, ("", ""))
    if library and find_spec(library) is None:
        return f"needs extra {extra}"
    modules = {one.partition("/")[0] for one in card.weights.files}
    if modules and all(find_spec(module) for module in modules):
        return "weights installed"
    return "network"


@encoders.command("list")
def list_encoders(as_json: JsonOption = False) -> None:
    """List all encoders: what is here, size, licence."""
    if as_json:
        rows = [
            {
                "name": card.name,
                "title": card.title,
                "kind": card.kind,
                "here": _here(card),
                "n_parameters": card.n_parameters,
                "licence": card.licence,
                "commercial_use": card.commercial_use,
                "gated": card.gated,
            }
            for card in CARDS.values()
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    typer.echo(f"{'name':<28}{'kind':<6}{'million':>8}  {'here':<19}{'commercial':<12}licence")
    for card in CARDS.values():
        size = f"{card.n_parameters / 1e6:.1f}" if card.n_parameters else "-"
        gated = ", gated" if card.gated else ""
        typer.echo(f"{card.name:<28}{card.kind:<6}{size:>8}  {_here(card):<19}{card.commercial_use:<12}{card.licence}{gated}")


@encoders.command("info")
def encoder_info(name: NameArgument, as_json: JsonOption = False) -> None:
    """Show the card of one encoder."""
    card = find_card(name)
    if as_json:
        typer.echo(json.dumps({**card.model_dump(mode="json"), "here": _here(card), "digest": card.digest()}, indent=2))
        return
    facts: dict[str, Any] = {"title": card.title, "here": _here(card), "cannot be made": card.missing, "source": card.source}
    facts |= {"licence": card.licence, "commercial use": card.commercial_use, "gated": "yes" if card.gated else "no"}
    facts |= {"rests on": card.read}
    if card.n_parameters:
        stated = f" ({card.published_millions:g} million stated)" if card.published_millions else ""
        facts["parameters"] = f"{card.n_parameters:,}{stated}"
    if card.input:
        spacing = " x ".join(f"{one:g}" for one in card.input.spacing) + " mm" if card.input.spacing else "any"
        facts |= {"input range": f"{card.input.low:g} to {card.input.high:g}", "channels": card.input.n_channels}
        facts |= {"spacing": spacing, "axes": card.input.orientation or "any", "square of": card.input.side or ""}
    facts |= {"sha256": card.weights.sha256 or "not pinned: give it with the weights", "package": card.weights.install}
    typer.echo(card.name)
    for key, value in facts.items():
        if value != "":
            typer.echo(f"  {key:<16}{value}")
    for one in card.maps:
        stride = " x ".join(f"{step:g}" for step in one.stride)
        typer.echo(f"  {'map':<16}{one.name}: {one.channels} channels, one cell per {stride} voxels")


@encoders.command("check")
def check_encoder(
    name: NameArgument,
    weights: Annotated[Path | None, typer.Option("--weights", help="File or folder; left out: the installed package.")] = None,
    sha256: Annotated[str, typer.Option("--sha256", help="Digest it must have, where the card pins none.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Check weights: their digest, and that they fill the network."""
    card = find_card(name)
    pinned = bool(sha256 or card.weights.sha256)
    if pinned:
        files, digest = checked_files(card, weights, sha256)
    else:
        files = weight_files(card, weights)
        digest = digest_of(files)
    n_parameters = _fill(name, weights, digest) if card.is_constructible else None
    facts = {"name": name, "files": [str(one) for one in files], "sha256": digest, "digest_was_pinned": pinned}
    facts["n_parameters"] = n_parameters
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    typer.echo(f"{name}: {n_parameters:,} parameters filled" if n_parameters else f"{name}: not made here, digest only")
    typer.echo(f"  sha256  {digest}" + ("" if pinned else "  (no digest to compare it with: compare it with its source)"))


def _fill(name: str, weights: Path | None, digest: str) -> int:
    # Loads torch.
    loading = import_module("vesselgraph.encoders.loading")
    return sum(one.numel() for one in loading.load_encoder(name, weights, sha256=digest).network.parameters())
