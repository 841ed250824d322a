"""Fixtures every test may use."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every CI run; other ones at every run by hand.
settings.register_profile("ci", derandomize=True)
if "CI" in os.environ:
    settings.load_profile("ci")

# Before numba, ITK or torch are imported: two workers with two threads each only wait for one another.
if "PYTEST_XDIST_WORKER" in os.environ:
    for _name in ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
        os.environ[_name] = "1"
    # Numba's kernels are short, and tests compare one thread with two.
    os.environ["NUMBA_NUM_THREADS"] = "2"

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real cases: ``$VESSELGRAPH_DATA``, or ``../shared/data`` beside the project; skips without one."""
    folder = Path(os.environ.get("VESSELGRAPH_DATA", _BESIDE))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set VESSELGRAPH_DATA")
    return folder
