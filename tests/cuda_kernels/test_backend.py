"""Asking for CUDA where there is none."""

import os
import subprocess
import sys

import pytest
from numba import cuda

from cuda_kernels import device, parity
from cuda_kernels.trace import CudaKernels
from vesselgraph.errors import BackendUnavailableError
from vesselgraph.tracing.backend import NumbaKernels, kernels_for

no_card = pytest.mark.skipif(device.SIMULATED or cuda.is_available(), reason="there is a device")


@no_card
def test_cuda_without_a_device_says_what_to_install():
    with pytest.raises(BackendUnavailableError, match=r'pip install "vesselgraph\[cuda\]".*trace.backend = "numba"'):
        kernels_for("cuda")
    with pytest.raises(BackendUnavailableError, match=r"expected .*; got .*; on a machine with an NVIDIA driver"):
        CudaKernels()


@no_card
def test_parity_without_a_device_ends_with_3(capsys):
    assert parity.main([]) == 3
    assert "vesselgraph[cuda]" in capsys.readouterr().out


def test_numba_is_the_other_backend():
    assert isinstance(kernels_for("numba"), NumbaKernels)


def test_importing_the_package_does_not_load_the_twins():
    code = "import sys, vesselgraph.tracing; assert not any(name.startswith('cuda_kernels') for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.timeout(600)
@pytest.mark.skipif(device.SIMULATED, reason="is in the simulator already")
def test_parity_agrees_in_the_simulator():
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_ENABLE_CUDASIM"}
    command = [sys.executable, "-m", "cuda_kernels.parity", "--small"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=580)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "device: simulator" in done.stdout
    assert "9 of 9 agree" in done.stdout
