"""Fixtures every test may use."""

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real cases: ``$VESSELGRAPH_DATA``, or ``../shared/data`` beside the project; skips without one."""
    folder = Path(os.environ.get("VESSELGRAPH_DATA", _BESIDE))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set VESSELGRAPH_DATA")
    return folder
