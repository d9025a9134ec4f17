from __future__ import annotations

import sys
from pathlib import Path

for folder in (Path(__file__).parent, Path(__file__).parents[1] / "sweeps"):
    sys.path.insert(0, str(folder))  # for chain.py and checks.py, and for the sweeps' toy family
