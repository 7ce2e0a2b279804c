"""The demo is a test too: it plays through in under a minute and checks itself."""

import os
import sys
from pathlib import Path

from harness.process import run


def test_demo_once() -> None:
    here = Path(__file__).parent
    environment = {"PYTHONPATH": os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])}
    done = run([sys.executable, "-m", "demo", "--once"], within=300, env=environment)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
    assert "PASSED" in done.stdout
