"""``python -m vesselgraph`` is the command line."""

from vesselgraph.cli import main

if __name__ == "__main__":
    main()
