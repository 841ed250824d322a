"""Runs the tests of ``simulated/`` in numba's CUDA simulator, a process for each file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "simulated"
IN_SIMULATOR = os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}


@pytest.mark.skipif(os.environ.get("NUMBA_ENABLE_CUDASIM") == "1", reason="is in the simulator already")
# With an empty cache numba compiles the CPU kernels first.
@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", sorted(HERE.glob("test_*.py")), ids=lambda path: path.stem)
def test_kernels_give_the_cpu_result_in_the_simulator(path):
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", str(path)]
    done = subprocess.run(command, env=IN_SIMULATOR, capture_output=True, text=True, check=False, timeout=580)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
