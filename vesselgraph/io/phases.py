"""Several contrast phases of one study, read and brought onto one grid."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vesselgraph.config import RegistrationConfig
from vesselgraph.errors import InputError
from vesselgraph.io.images import read_image
from vesselgraph.progress import Progress, silent
from vesselgraph.registration import register_phases
from vesselgraph.volume import PhaseSet, Volume

_DEFAULT = RegistrationConfig()


def read_phases(
    phases: Mapping[str, str | Path | Volume], config: RegistrationConfig = _DEFAULT, *, progress: Progress = silent
) -> PhaseSet:
    """Return named phases on the grid of the reference phase: the one named portal, or else the first.

    Parameters
    ----------
    phases : mapping of name to path or Volume
        Paths as for :func:`~vesselgraph.io.read_image`; ``folder#2`` names the series with number 2 in a DICOM folder of
        several phases.
    config : RegistrationConfig
    progress : Progress

    Raises
    ------
    InputError
        No phase, or one cannot be read; the message starts with the phase's name.
    RegistrationError
        The phases do not match; see :func:`~vesselgraph.registration.register_phases`.
    """
    volumes = {}
    for index, (name, source) in enumerate(phases.items()):
        progress(f"read {name}", index / len(phases))
        volume = source if isinstance(source, Volume) else _read(name, source)
        volumes[name] = Volume(volume.array, volume.space, name)
    return register_phases(volumes, config, progress=progress)


def _read(name: str, source: str | Path) -> Volume:
    place, mark, series = str(source).rpartition("#")
    try:
        if mark and not Path(source).exists():
            return read_image(place, series=series)
        return read_image(source)
    except InputError as error:
        raise type(error)(f"phase {name!r}: {error.expected}", error.got, error.do) from error
