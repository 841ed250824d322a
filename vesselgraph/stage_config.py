"""The base of every stage's settings: read from TOML and overrides, checked, digested."""

from __future__ import annotations

import copy
import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError

from vesselgraph.errors import ConfigError


class StageConfig(BaseModel):
    """Base of every stage's settings: frozen, no unknown fields, digestible."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    def digest(self) -> str:
        """Return the first 12 hex digits of the SHA-256 of all values, defaults included."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @classmethod
    def from_toml(cls, path: str | Path, overrides: Iterable[str] = ()) -> Self:
        """Return the config of a TOML recipe, with ``key=value`` overrides applied (``stage.key=value`` in a pipeline's).

        Raises
        ------
        ConfigError
            The file cannot be read or parsed, or a field or value is not allowed.
        """
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError("a readable TOML recipe", f"{path}: {error}", "check the path and the syntax") from error
        return cls.build(values, overrides)

    @classmethod
    def build(cls, values: Mapping[str, Any] | None = None, overrides: Iterable[str] = ()) -> Self:
        """Return the config of (nested) values plus ``key=value`` overrides (``stage.key=value`` in a pipeline's).

        Raises
        ------
        ConfigError
            A field does not exist or a value is outside its range; the message lists each.

        Examples
        --------
        >>> from vesselgraph.config import RegistrationConfig
        >>> RegistrationConfig.build(overrides=["step=2"]).step
        2.0
        """
        merged = copy.deepcopy(dict(values or {}))
        for override in overrides:
            _apply(merged, override)
        try:
            return cls.model_validate(merged)
        except ValidationError as error:
            first = error.errors()[0]
            # What a config says of settings that do not go together is told as it says it.
            if isinstance(told := first.get("ctx", {}).get("error"), ConfigError):
                place = ".".join(str(part) for part in first["loc"])
                raise ConfigError(f"{place}: {told.expected}" if place else told.expected, told.got, told.do) from error
            wrong = "; ".join(
                f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']} (got {item['input']!r})"
                for item in error.errors()[:5]
            )
            raise ConfigError("known settings within their ranges", wrong, "see `vesselgraph config`") from error

    def to_toml(self) -> str:
        """Return the whole config as TOML; :meth:`from_toml` reads it back. Settings that are unset (None) are left out."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def _apply(values: dict[str, Any], override: str) -> None:
    key, sign, text = override.partition("=")
    if not sign or not key.strip():
        raise ConfigError("an override like trace.threshold=0.2", repr(override), "write stage.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *parents, last = key.strip().split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError("an override of a known stage", repr(override), "write stage.key=value")
    values[last] = value
