"""Every case of `differential/groups` in a live Envoy and in our proxy: what can be seen from outside is the same."""

from __future__ import annotations

import pytest

from differential import accepted, suite
from differential.case import STATS, Case, Group, load

GROUPS = {group.name: group for group in load()}
NAMES = [f"{group.name}/{name}" for group in GROUPS.values() for name in [*(c.name for c in group.cases), STATS]]
ENTRIES = accepted.load()


def chosen(items: list[pytest.Item]) -> dict[str, tuple[Group, list[Case]]]:
    """The cases whose tests were selected. Stats stand for all cases of their group."""
    wanted = {item.callspec.params["case"] for item in items if isinstance(item, pytest.Function) and _has_case(item)}
    if any(item.name == test_every_accepted_difference_is_still_one.__name__ for item in items) and not wanted:
        wanted = set(NAMES)
    selection: dict[str, tuple[Group, list[Case]]] = {}
    for group in GROUPS.values():
        everything = f"{group.name}/{STATS}" in wanted
        cases = [case for case in group.cases if everything or case.full_name in wanted]
        if cases:
            selection[group.name] = group, cases
    return selection


def _has_case(item: pytest.Function) -> bool:
    return hasattr(item, "callspec") and "case" in item.callspec.params


@pytest.fixture(scope="module")
def result(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> suite.Result:
    """All selected cases are run at once, before the first is judged."""
    own = [item for item in request.session.items if item.path == request.path]
    return suite.run(chosen(own), tmp_path_factory.mktemp("differential"))


@pytest.mark.parametrize("case", NAMES)
def test_case(case: str, result: suite.Result) -> None:
    if case in result.failures:
        pytest.fail(result.failures[case], pytrace=False)
    found = accepted.unlisted(case, result.differences[case], ENTRIES)
    if found:
        pytest.fail("\n".join(["differs from Envoy:", *map(str, found)]), pytrace=False)


def test_every_accepted_difference_is_still_one(result: suite.Result) -> None:
    """Nobody keeps an excuse for what has been mended. Only cases that were run count."""
    assert accepted.idle(ENTRIES, result.differences) == []
