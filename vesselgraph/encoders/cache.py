"""Features on disk: a frozen encoder sees an image once. Needs torch."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from vesselgraph.encoders.encoded import Encoded, FeatureMap
from vesselgraph.errors import InputError, RangeError
from vesselgraph.io.atomic import atomic_path
from vesselgraph.space import Space
from vesselgraph.volume import Volume

_ABANDONED = 3600.0
_OPTIONAL = ("tokens", "token_mask", "pooled", "attention")


@dataclass(frozen=True)
class FeatureCache:
    """A folder of features, bounded in size; several processes may use it at once.

    A file is written beside its place and renamed, so a reader finds a whole file or none. What a killed writer left is never
    read and is removed after an hour. Files that were not used for longest go first when the bound is passed; a reader that
    loses its file to that encodes again.

    Parameters
    ----------
    folder : Path
        Made if missing.
    max_gigabytes : float
        Of all files together, 10^9 bytes.

    Raises
    ------
    RangeError
        The bound is not positive.
    InputError
        The folder is a file.
    """

    folder: Path
    max_gigabytes: float

    def __post_init__(self) -> None:
        if not self.max_gigabytes > 0:
            raise RangeError("a bound > 0 GB", f"{self.max_gigabytes}", "give the cache some room")
        folder = Path(self.folder)
        if folder.exists() and not folder.is_dir():
            raise InputError("a folder for the cache", f"{folder}, which is a file", "choose another")
        folder.mkdir(parents=True, exist_ok=True)
        object.__setattr__(self, "folder", folder)

    def read(self, key: str) -> Encoded | None:
        """Return the features kept under a key, or None. A file that cannot be read counts as none and is removed."""
        path = self._path(key)
        try:
            encoded = _read(path)
            path.touch()
        except FileNotFoundError:
            return None
        except (SafetensorError, KeyError, ValueError):
            path.unlink(missing_ok=True)
            return None
        return encoded

    def write(self, key: str, encoded: Encoded) -> None:
        """Keep features under a key, then drop what was not used for longest until the bound holds again.

        Features that are larger than the bound are not kept.

        Raises
        ------
        OutputError
            The disk is full or not writable.
        """
        tensors, notes = _parts(encoded)
        if sum(one.numel() * one.element_size() for one in tensors.values()) > self.max_gigabytes * 1e9:
            return
        with atomic_path(self._path(key)) as temporary:
            save_file(tensors, temporary, {"encoded": json.dumps(notes)})
        self._shrink()

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def _shrink(self) -> None:
        found = []
        for path in self.folder.glob("*.safetensors"):
            # Another process may remove or rename a file between the listing and this.
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            # Half-written ones begin with a dot and belong to their writer, unless it is long gone.
            if not path.name.startswith("."):
                found.append((status.st_mtime_ns, status.st_size, path))
            elif time.time() - status.st_mtime > _ABANDONED:
                path.unlink(missing_ok=True)
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.max_gigabytes * 1e9:
                return
            path.unlink(missing_ok=True)
            total -= size


def feature_key(volume: Volume, encoder_digest: str, weights_digest: str, config_digest: str) -> str:
    """Return the name features are kept under: of the image's values, its place, and the encoder, weights and settings.

    Parameters
    ----------
    volume : Volume
    encoder_digest : str
        Of the card.
    weights_digest : str
        SHA-256 of the weights, or any words that tell random ones apart, such as their seed.
    config_digest : str
        Of the settings the encoder was made with.

    Examples
    --------
    >>> one = Volume(np.zeros((2, 2, 2)), Space.axial())
    >>> feature_key(one, "a", "b", "c") == feature_key(one.with_array(np.ones((2, 2, 2))), "a", "b", "c")
    False
    """
    place = json.dumps([volume.space.to_dict(), volume.shape, str(volume.array.dtype)])
    state = hashlib.sha256(place.encode())
    state.update("|".join((encoder_digest, weights_digest, config_digest)).encode())
    for plane in volume.array:
        state.update(np.ascontiguousarray(plane).tobytes())
    return state.hexdigest()


def _parts(encoded: Encoded) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    tensors = {f"map {number}": one.data for number, one in enumerate(encoded.maps)}
    tensors |= {name: getattr(encoded, name) for name in _OPTIONAL if getattr(encoded, name) is not None}
    notes: dict[str, object] = {
        "maps": [[one.name, one.stride, one.offset] for one in encoded.maps],
        "spaces": [space.to_dict() for space in encoded.spaces],
        "shape": encoded.shape,
    }
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}, notes


def _read(path: Path) -> Encoded:
    with safe_open(path, framework="pt") as file:
        notes = json.loads(file.metadata()["encoded"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    maps = tuple(
        FeatureMap(tensors[f"map {number}"], (s[0], s[1], s[2]), (o[0], o[1], o[2]), name)
        for number, (name, s, o) in enumerate(notes["maps"])
    )
    spaces = tuple(Space.from_dict(one) for one in notes["spaces"])
    more = {name: tensors[name] for name in _OPTIONAL if name in tensors}
    planes, rows, columns = notes["shape"]
    return Encoded(maps, spaces, (planes, rows, columns), **more)
