"""Whether two runs of a suite tell the same story. ``python -m bench.agree FIRST.json SECOND.json``.

Two runs agree on a figure if the ranges between their lowest and highest round touch, after both were widened by a slack
that stands for what a machine does between two runs and three rounds cannot show.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.result import METRICS, Result, read_json


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure on which two runs do not agree: their ranges, in the figure's own unit, and how far apart these are.

    ``gap`` is the distance between the ranges as a share of the nearer bound of the first.
    """

    case: str
    subject: str
    metric: str
    first: tuple[float, float]
    second: tuple[float, float]
    gap: float

    def __str__(self) -> str:
        ranges = " against ".join(f"{low:g}-{high:g}" for low, high in (self.first, self.second))
        return f"{self.case} {self.subject} {self.metric}: {ranges}, {self.gap:.1%} apart"


def compare(first: Sequence[Result], second: Sequence[Result], slack: float) -> tuple[int, list[Difference]]:
    """The number of figures that both runs hold, and those whose ranges are more than ``slack`` (a share) apart."""
    others = {(result.case, result.subject): result for result in second}
    compared = 0
    found = []
    for result in first:
        other = others.get((result.case, result.subject))
        for difference in () if other is None else _differences(result, other):
            compared += 1
            if difference.gap > slack:
                found.append(difference)
    return compared, found


def _differences(first: Result, second: Result) -> Iterator[Difference]:
    for metric in (*METRICS, *first.extras):
        mine, theirs = first.spread(metric), second.spread(metric)
        if mine is not None and theirs is not None:
            yield Difference(first.case, first.subject, metric, mine, theirs, _gap(mine, theirs))


def _gap(first: tuple[float, float], second: tuple[float, float]) -> float:
    distance = max(first[0] - second[1], second[0] - first[1], 0.0)
    if distance == 0.0:
        return 0.0
    near = first[0] if second[1] < first[0] else first[1]
    return distance / abs(near) if near else float("inf")


def main(arguments: Sequence[str]) -> int:
    """Compare two files of results; 0 if they agree on every figure, 1 if not."""
    parser = argparse.ArgumentParser(prog="python -m bench.agree", description=__doc__)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument(
        "--slack", type=float, default=5.0, help="per cent by which ranges may miss each other (default 5)"
    )
    chosen = parser.parse_args(arguments)
    compared, differences = compare(read_json(chosen.first)[0], read_json(chosen.second)[0], chosen.slack / 100)
    if not compared:
        print("the two files share no figure: compare two runs of one suite", file=sys.stderr)
        return 1
    for difference in differences:
        print(difference)
    print(f"{compared - len(differences)} of {compared} figures agree within their spread and {chosen.slack:g} %")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
