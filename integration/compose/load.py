"""Endless load on the shop, from inside the stack: one line every ten seconds."""

import argparse
import time

from harness.load import Load, Target


def main() -> None:
    """Send until the container is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--authority", required=True)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--rate", type=float, default=50.0)
    options = parser.parse_args()
    target = Target(options.address, authority=options.authority, connections=options.connections, rate=options.rate)
    with Load(target) as load:
        for number in range(1 << 60):
            tally = load.phase(f"{number % 2}")  # two phases in turn, so that nothing grows
            before, failed = tally.requests, tally.failed
            time.sleep(10)
            versions = ", ".join(f"{version}: {count}" for version, count in sorted(tally.versions.items()))
            print(f"{tally.requests - before} requests, {tally.failed - failed} failed; so far {versions}", flush=True)


if __name__ == "__main__":
    main()
