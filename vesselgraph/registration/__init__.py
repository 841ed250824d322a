"""Phases of one study onto one grid; start at :func:`register_phases`."""

from vesselgraph.registration.matching import Match, match_phase
from vesselgraph.registration.phases import register_phases

__all__ = ["Match", "match_phase", "register_phases"]
