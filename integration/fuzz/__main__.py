"""``python -m fuzz http2 --minutes 10 [--seed N]``: a target's cases on seed after seed; the first that fails is named and ends the run."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
import traceback
from types import FrameType

from fuzz import http2

TARGETS = {"http2": http2.CASES}
HANG_S = 10  # a case takes milliseconds


class HangError(Exception):
    """A case did not end."""


def _hang(number: int, frame: FrameType | None) -> None:
    raise HangError(f"a case ran for {HANG_S} s")


def run_one(target: str, seed: int) -> None:
    """All cases of a target on one seed. Whatever they raise is a finding."""
    for case in TARGETS[target]:
        signal.alarm(HANG_S)
        try:
            case(random.Random(seed))
        finally:
            signal.alarm(0)


def main(argv: list[str]) -> int:
    """Run until the time is over; 1 if something was found."""
    parser = argparse.ArgumentParser(prog="nox -s fuzz --", description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, help="this seed alone, as a finding names it")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGALRM, _hang)
    if options.seed is not None:
        run_one(options.target, options.seed)
        return 0
    end = time.monotonic() + options.minutes * 60
    first = seed = time.time_ns()
    while time.monotonic() < end:
        try:
            run_one(options.target, seed)
        except Exception:  # noqa: BLE001 - a finding, whatever it is
            traceback.print_exc()
            print(f"found with --seed {seed}, after {seed - first} seeds", file=sys.stderr)
            return 1
        seed += 1
    print(
        f"{options.target}: {seed - first} seeds from {first}, {len(TARGETS[options.target])} cases each, nothing found"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
