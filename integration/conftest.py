"""Makes ``harness`` and ``demo`` importable for the tests of this folder, and gives the fixtures that several of them use."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

# Peers that take many minutes to build: the session "peers" runs their tests.
collect_ignore = (
    []
    if os.environ.get("ISTHMUS_BUILD_PEERS") == "1"
    else ["test_bridge_consul.py", "test_bridge_eureka.py", "test_bridge_istiod.py"]
)
