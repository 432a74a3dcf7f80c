"""Where this tree is; importing it makes ``ebpfmesh`` mean this tree's, whatever is installed."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "ebpfmesh"
SOURCES = PACKAGE / "bpf"  # the C

sys.path.insert(0, str(ROOT / "src"))
