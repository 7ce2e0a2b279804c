"""Makes ``harness`` and ``demo`` importable for the tests of this folder, and gives the fixtures that several of them use."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
