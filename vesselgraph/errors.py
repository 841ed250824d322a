"""The exception tree of the project, and nothing else.

Every message has three parts: what was expected, what came, what to do. Third-party exceptions do not cross a public door.
"""

from __future__ import annotations


class VesselGraphError(Exception):
    """Base of every error this package raises on purpose.

    Parameters
    ----------
    expected : str
        What the caller was asked for.
    got : str
        What came: value, shape, up to five ids.
    do : str
        What the caller can do about it.

    Examples
    --------
    >>> print(VesselGraphError("a 3-D image", "an array of shape (4, 5)", "pass a volume"))
    expected a 3-D image; got an array of shape (4, 5); pass a volume
    """

    def __init__(self, expected: str, got: str, do: str) -> None:
        super().__init__(f"expected {expected}; got {got}; {do}")
        self.expected = expected
        self.got = got
        self.do = do

    def __reduce__(self) -> tuple[type[VesselGraphError], tuple[str, str, str]]:
        """Keep the three parts on the way between processes."""
        return type(self), (self.expected, self.got, self.do)


class InputError(VesselGraphError, ValueError):
    """Input that cannot be used as it is (CLI exit code 2)."""


class ShapeError(InputError):
    """An array has the wrong number of axes or the wrong length."""


class RangeError(InputError):
    """A value lies outside its allowed range or is not finite."""


class SpaceMismatchError(InputError):
    """Two things that must share one grid or frame do not."""


class GeometryError(InputError):
    """A grid is impossible: zero spacing, sheared axes, a missing slice."""


class FormatError(InputError):
    """A file is truncated, of another kind than its suffix says, or holds something unexpected."""


class SeriesChoiceError(InputError):
    """A folder holds several image series and the caller must name one."""


class OutputError(InputError):
    """A result could not be written; nothing half-written was left behind."""


class ConfigError(InputError):
    """A configuration names an unknown field or a value outside its range."""


class RegistrationError(InputError):
    """Phases do not match: they cannot be brought onto one grid with the asked quality."""


class GraphInvariantError(InputError):
    """A graph would break one of its numbered invariants."""


class BackendUnavailableError(VesselGraphError):
    """A backend or an optional package that was asked for is not installed (CLI exit code 3)."""


class CheckpointError(VesselGraphError):
    """A model file is missing, of another card, or has another digest (CLI exit code 3)."""


class BudgetError(VesselGraphError):
    """A bound on memory, iterations or time was reached (CLI exit code 4)."""
