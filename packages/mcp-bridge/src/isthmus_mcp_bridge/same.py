"""How two sequences of immutable values begin and end with the same objects: what is between them is what has changed."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import islice


def same_ends(old: Sequence[object], new: Sequence[object]) -> tuple[int, int]:
    """How many values at the start and at the end (none of them counted twice) are the same objects in both."""
    shorter = min(len(old), len(new))
    first = next((n for n, same in enumerate(map(operator.is_, old, new)) if not same), shorter)
    backwards = map(operator.is_, reversed(old), islice(reversed(new), shorter - first))
    last = next((n for n, same in enumerate(backwards) if not same), shorter - first)
    return first, last
