"""The command line: the only place that prints, draws progress bars and opens nothing but files.

Commands load what they need when they run, so that ``vesselgraph --help`` answers at once. Exit codes: 0 done, 1 an
unexpected failure (with its traceback), 2 bad input, 3 a missing backend or model file, 4 a bound was reached, 130 Ctrl-C.
"""

from vesselgraph.cli.app import app, main

__all__ = ["app", "main"]
