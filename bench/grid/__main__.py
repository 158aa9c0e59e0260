"""``python -m bench.grid``: both halves of the application grid, the controller and a node's filter."""

from __future__ import annotations

import subprocess
import sys

for half in ("cloud", "node"):
    subprocess.run([sys.executable, "-m", f"bench.grid.{half}"], check=True)
