"""These tests need the extra ``jwt``. Without it they are left out, unless peers are required (as in CI)."""

from __future__ import annotations

import os
from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("cryptography") or os.environ.get("ISTHMUS_REQUIRE_PEERS") else ["test_*.py"]
