import os

# The simulator is chosen when numba is first loaded, so these run in a process of their own: see test_simulated.py.
if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1":
    collect_ignore_glob = ["simulated/*"]
