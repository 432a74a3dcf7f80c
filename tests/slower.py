"""How many times longer everything may take than on the machine that the tests were written on: 30 under emulation."""

import os

SLOWER = float(os.environ.get("EBPFMESH_TEST_SLOWER", "1"))
