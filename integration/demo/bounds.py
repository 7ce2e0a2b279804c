"""Whether a counted split can come from the configured weights. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

# A fair split is called unfair once in 15,000 checks; a split that is off by five points is seen with a thousand requests.
SIGMAS = 4.0


@dataclass(frozen=True, slots=True)
class SplitCheck:
    """The comparison of counts with weights."""

    expected: Mapping[str, float]
    counted: Mapping[str, int]
    problem: str
    """Empty when the counts fit."""

    @property
    def passed(self) -> bool:
        return not self.problem


def check_split(weights: Mapping[str, int], counted: Mapping[str, int]) -> SplitCheck:
    """Compare counts with weights by the binomial bound of four standard deviations, each version for itself.

    A weight of 0 or 100% allows no exception at all, and neither does a version that has no weight.
    """
    total, sum_of_weights = sum(counted.values()), sum(weights.values())
    expected = {name: weight / sum_of_weights for name, weight in weights.items()}
    problems = [
        f"{name} has no weight and answered {n} times" for name, n in counted.items() if n and name not in weights
    ]
    if total == 0:
        problems.append("nothing was counted")
    for name, share in expected.items():
        allowed = SIGMAS * math.sqrt(total * share * (1 - share))
        number = counted.get(name, 0)
        if abs(number - share * total) > allowed + 1e-9:
            problems.append(f"{name} answered {number} of {total}, expected {share * total:.0f} within {allowed:.0f}")
    return SplitCheck(expected, dict(counted), "; ".join(problems))
