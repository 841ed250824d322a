"""CUDA twins of the tracing kernels; the contract is in README.md."""
