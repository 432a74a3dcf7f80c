"""``python -m ebpfmesh``: the command line."""

import sys

from ebpfmesh.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
