"""Compilation without a card: PTX, the assembler's report, and that no kernel is forgotten."""

import importlib
import pkgutil

import pytest

import cuda_kernels
from cuda_kernels import compile_check
from cuda_kernels.compile_check import KERNELS, Use

lacking = compile_check.missing()
needs_compiler = pytest.mark.skipif(bool(lacking), reason=f"needs {lacking}")


def kernels_in_the_package():
    found = set()
    for info in pkgutil.iter_modules(cuda_kernels.__path__):
        module = importlib.import_module(f"cuda_kernels.{info.name}")
        for name, value in vars(module).items():
            is_kernel = type(value).__name__ in {"CUDADispatcher", "FakeCUDAKernel"} and not name.startswith("_")
            if is_kernel and value.py_func.__module__ == module.__name__:
                found.add(f"{info.name}.{name}")
    return found


def test_every_kernel_is_checked():
    assert set(KERNELS) == kernels_in_the_package()


@needs_compiler
@pytest.mark.parametrize("name", sorted(KERNELS))
def test_kernel_neither_spills_nor_computes_in_float64(name):
    for capability in compile_check.ARCHITECTURES:
        use = compile_check.measure(name, capability)
        assert use.accepted, use


@needs_compiler
def test_a_float64_and_a_spill_would_be_seen():
    from numba import cuda, float64, void

    @cuda.jit
    def doubles(target):
        target[cuda.grid(1)] *= 1.5

    ptx = compile_check.to_ptx(doubles, void(float64[::1]), (8, 0))
    assert ".f64" in ptx
    assert "registers" in compile_check.assemble(ptx, "sm_80")


@pytest.mark.parametrize(
    ("use", "accepted"),
    [
        (Use("k", "sm_80", 40, 0, 0, 0, 0), True),
        (Use("k", "sm_80", 40, 0, 0, 8, 0), False),
        (Use("k", "sm_80", 40, 0, 0, 0, 1), False),
        (Use("k", "sm_80", 129, 0, 0, 0, 0), False),
    ],
)
def test_what_is_accepted(use, accepted):
    assert use.accepted is accepted


@pytest.mark.skipif(not lacking, reason="the compiler is here")
def test_a_missing_compiler_is_named(capsys):
    assert compile_check.main() == 3
    assert "needs" in capsys.readouterr().out
