"""The one side channel of a stage: how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called by a stage with what it does now and the done fraction of that step, in [0, 1]."""

    def __call__(self, step: str, fraction: float) -> None:
        """Report that ``step`` is done to ``fraction``."""


def silent(step: str, fraction: float) -> None:
    """Report nothing; the default of every stage."""
