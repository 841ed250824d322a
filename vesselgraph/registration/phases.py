"""All phases of one study on one grid, with what each match is worth."""

from __future__ import annotations

from collections.abc import Mapping

from vesselgraph.config import RegistrationConfig
from vesselgraph.errors import InputError
from vesselgraph.progress import Progress, silent
from vesselgraph.registration.matching import Match, match_phase, move_phase
from vesselgraph.volume import PhaseSet, Volume

_WARN_COVERED_FRACTION = 0.8
_DEFAULT = RegistrationConfig()


def register_phases(
    phases: Mapping[str, Volume], config: RegistrationConfig = _DEFAULT, *, progress: Progress = silent
) -> PhaseSet:
    """Return all phases on the grid of the reference phase, which comes first and is unchanged.

    A step (shift and turn, then deformation) is used only if it makes the phases agree better by ``min_gain_fraction``, so
    phases that fit already stay as they are, apart from resampling if their grid differs.

    Parameters
    ----------
    phases : mapping of name to Volume
        Of one patient and one study, in one frame of reference: the search starts from the positions in the headers.
    config : RegistrationConfig
    progress : Progress

    Returns
    -------
    PhaseSet
        ``quality[name]`` of every phase but the reference: ``mutual_information``, ``body_dice`` and ``correlation`` (soft
        tissue), each ``_before`` and ``_after``; ``covered_fraction`` of the reference's box; ``max_displacement`` and
        ``mean_displacement`` in mm inside the body; ``min_jacobian`` of the deformation (1 without one). ``warnings`` name
        the phases that fit badly.

    Raises
    ------
    InputError
        No phase, or no phase of the name ``config.reference``.
    RegistrationError
        The fields of view do not overlap, or after the match the bodies overlap less than ``config.refuse_below`` or soft
        tissue agrees less than ``config.refuse_correlation_below``.

    Notes
    -----
    Deterministic: one thread and seeded sampling. Images without air (below -500) count as body everywhere.
    """
    name = _reference_name(phases, config)
    reference = phases[name]
    moved = {name: reference}
    quality: dict[str, dict[str, float]] = {}
    warnings: list[str] = []
    for other in phases:
        if other != name:
            match = match_phase(reference, phases[other], config, name=other, progress=progress)
            moved[other] = move_phase(phases[other], reference, match.transform)
            quality[other] = _quality(match)
            warnings += _remarks(other, match, config)
    return PhaseSet(moved, quality, tuple(warnings))


def _reference_name(phases: Mapping[str, Volume], config: RegistrationConfig) -> str:
    if not phases:
        raise InputError("at least one phase", "none", "pass a mapping of phase name to volume")
    if config.reference:
        if config.reference not in phases:
            raise InputError(f"a phase named {config.reference!r}", f"{', '.join(phases)}", "set registration.reference")
        return config.reference
    return next((name for name in phases if "portal" in name.lower()), next(iter(phases)))


def _quality(match: Match) -> dict[str, float]:
    figures = {"mutual_information": "mutual_information", "body_dice": "dice", "correlation": "correlation"}
    before = {f"{name}_before": float(getattr(match.before, source)) for name, source in figures.items()}
    after = {f"{name}_after": float(getattr(match.after, source)) for name, source in figures.items()}
    motion = {
        "covered_fraction": match.after.covered_fraction,
        "max_displacement": float(match.displacement.max()),
        "mean_displacement": float(match.displacement.mean()),
        "min_jacobian": match.min_jacobian,
    }
    return {**before, **after, **motion}


def _remarks(name: str, match: Match, config: RegistrationConfig) -> list[str]:
    remarks, fit, motion = [], match.after, float(match.displacement.mean())
    if fit.dice < config.warn_below:
        remarks.append(f"phase {name!r}: body overlap after registration is only {fit.dice:.2f} (Dice); look at the match")
    if fit.correlation < config.warn_correlation_below:
        remarks.append(f"phase {name!r}: soft tissue agrees only to {fit.correlation:.2f} (correlation); look at the match")
    if fit.covered_fraction < _WARN_COVERED_FRACTION:
        remarks.append(f"phase {name!r} covers only {fit.covered_fraction:.0%} of the reference's field of view")
    if motion > config.warn_motion_above:
        remarks.append(f"phase {name!r} was moved by {motion:.0f} mm, further than breathing does; is it of the same study?")
    return remarks
