"""``python -m move [--instances N] [--consumers N] [--seconds S] [--seed N] [--json FILE] [--plot FILE]``: move, and count.

Exit status 1 if a request failed.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from move.figures import Figures, figures, table
from move.script import Script
from move.stage import Stage

SETTLE_S = 5.0
"""The load goes on for so long after the last step."""


def run(home: Path, instances: int, consumers: int, seconds: float, seed: int) -> Figures:
    """The whole run, its logs in ``home``."""
    with ExitStack() as stack:
        stage = Stage(home, stack, instances, consumers)
        with stage.consumers as running:
            script = Script(stage, seed, lambda text: print(text, flush=True))
            script.play(seed, seconds)
            time.sleep(SETTLE_S)
            lasted = time.monotonic() - running.started
        return figures(running.all, instances, seed, lasted, script.events, script.moves)


def main() -> int:
    parser = argparse.ArgumentParser(prog="move", description="Move a service to the mesh and back under load.")
    parser.add_argument("--instances", type=int, default=20)
    parser.add_argument("--consumers", type=int, default=10, help="every other one with an SDK, the rest with sidecars")
    parser.add_argument("--seconds", type=float, default=240.0, help="over how long the moves are spread, at least")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--plot", type=Path, help="draw them there, as SVG")
    parser.add_argument("--logs", type=Path, help="keep the programs' logs in this directory")
    options = parser.parse_args()
    logging.getLogger("kazoo").setLevel(logging.CRITICAL)  # sessions are lost on purpose
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        home = options.logs or Path(name)
        home.mkdir(parents=True, exist_ok=True)
        found = run(home, options.instances, options.consumers, options.seconds, options.seed)
    print(table(found))
    if options.json is not None:
        options.json.write_text(json.dumps(asdict(found), indent=1) + "\n")
    if options.plot is not None:
        from move.plot import draw  # matplotlib is slow to load

        draw(options.plot, found)
    return 1 if found.failed else 0


if __name__ == "__main__":
    sys.exit(main())
