"""Policies stay while their source is away, over a restart, and in their last good form."""

from __future__ import annotations

import asyncio
import contextlib
import stat
from pathlib import Path

import pytest

from isthmus_api.dualmode.v1alpha1.dual_mode_pb2 import DualMode, View
from isthmus_mcp_bridge.dualmode.directory_source import DirectoryPolicies
from isthmus_mcp_bridge.dualmode.policy_book import Item, PolicyBook
from isthmus_mcp_bridge.dualmode.policy_store import PolicyStore

GOOD = DualMode(host="greeter", sdk=View(prefer=["mesh"]))
OTHER = DualMode(host="greeter", sdk=View(prefer=["native"]))
BAD = DualMode(sdk=View(prefer=["sidecar"]))


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def hosts(book: PolicyBook) -> dict[str, str]:
    return {policy.full_name: policy.host for policy in book.policies}


def test_a_full_set_replaces_what_was_there() -> None:
    book = PolicyBook("x")
    assert book.age_s(5.0) is None
    assert book.replace([Item("b/two", "1", GOOD), Item("a/one", "1", GOOD)], 5.0) == ()
    assert list(hosts(book)) == ["a/one", "b/two"]
    assert (book.versions, book.live, book.age_s(9.0)) == ({"a/one": "1", "b/two": "1"}, True, 0.0)
    book.replace([], 6.0)
    assert book.policies == ()


def test_a_bad_policy_keeps_its_last_good_form_and_harms_no_other() -> None:
    book = PolicyBook("x")
    book.replace([Item("a/one", "1", GOOD)], 0.0)
    problems = book.replace([Item("a/one", "2", BAD), Item("a/new", "1", BAD), Item("a/two", "1", OTHER)], 1.0)
    assert [problem.partition(": ")[0] for problem in problems] == ["a/one", "a/new"]
    assert "last good form stays" in problems[0]
    assert "is left out" in problems[1]
    assert book.versions == {"a/one": "1", "a/two": "1"}


@pytest.mark.parametrize("name", ["one", "/one", "a/", "a/b/c"])
def test_names_have_two_parts(name: str) -> None:
    assert "namespace/name" in PolicyBook("x").replace([Item(name, "1", GOOD)], 0.0)[0]


def test_all_stay_while_the_source_is_away_and_grow_old() -> None:
    book = PolicyBook("x")
    book.replace([Item("a/one", "1", GOOD)], 5.0)
    book.lost("gone", 10.0)
    book.lost("still gone", 12.0)
    assert (hosts(book), book.live, book.error, book.age_s(25.0)) == ({"a/one": "greeter"}, False, "still gone", 15.0)


async def run_for_a_moment(store: PolicyStore) -> None:
    task = asyncio.create_task(store.run())
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.asyncio
async def test_a_restart_goes_by_the_last_policies_and_says_their_age(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "warm.policies"
    book = PolicyBook("x")
    book.replace([Item("a/one", "7", GOOD)], clock.now)
    await run_for_a_moment(PolicyStore(path, book, clock))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    clock.now += 30
    again = PolicyBook("x")
    assert PolicyStore(path, again, clock).load()
    assert (again.policies, again.versions) == (book.policies, {"a/one": "7"})
    assert (again.live, again.age_s(clock.now)) == (False, 30.0)


@pytest.mark.asyncio
async def test_nothing_is_written_before_anything_was_heard(tmp_path: Path) -> None:
    path = tmp_path / "warm"
    await run_for_a_moment(PolicyStore(path, PolicyBook("x"), Clock()))
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"isthmus-policies-1\n", b"isthmus-policies-1\n00000000 []\n", b"other\nx"])
def test_a_damaged_file_harms_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "warm"
    path.write_bytes(content)
    book = PolicyBook("x")
    assert PolicyStore(path, book, Clock()).load() is False
    assert book.policies == ()


@pytest.mark.asyncio
async def test_a_file_that_cannot_be_written_is_counted(tmp_path: Path) -> None:
    book = PolicyBook("x")
    book.replace([Item("a/one", "7", GOOD)], 1.0)
    store = PolicyStore(tmp_path / "missing" / "warm", book, Clock())
    await run_for_a_moment(store)
    assert store.failures >= 1


ONE = """
apiVersion: isthmus.io/v1alpha1
kind: DualMode
metadata: {name: one}
spec: {host: greeter, sdk: {rules: [{percent: 10, prefer: [mesh]}]}, overlap: 7s}
---
apiVersion: isthmus.io/v1alpha1
kind: DualMode
metadata: {name: two, namespace: shop}
"""


class Directory:
    """A directory of policies that is looked at when the test says so."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.book = PolicyBook(str(path))
        self.changes = 0
        self.clock = Clock()
        self.source = DirectoryPolicies(path, self.book, self._changed, self.clock)

    def _changed(self) -> None:
        self.changes += 1

    async def look(self) -> list[str]:
        await self.source.look()
        return list(hosts(self.book))


@pytest.mark.asyncio
async def test_a_directory_is_followed(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    assert await directory.look() == []
    (tmp_path / "a.yaml").write_text(ONE)
    (tmp_path / ".hidden.yaml").write_text("[")
    (tmp_path / "other.txt").write_text("[")
    assert await directory.look() == ["default/one", "shop/two"]
    assert directory.book.policies[0].overlap_s == 7.0
    assert await directory.look() == ["default/one", "shop/two"]
    assert directory.changes == 2
    (tmp_path / "a.yaml").unlink()
    assert await directory.look() == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[", "b.yaml: is not YAML"),
        ("kind: DualMode", "b.yaml#1: is not an object of kind DualMode"),
        ("{apiVersion: isthmus.io/v1alpha1, kind: DualMode}", "b.yaml#1: metadata.name"),
        (
            "{apiVersion: isthmus.io/v1alpha1, kind: DualMode, metadata: {name: x}, spec: {colour: red}}",
            "b.yaml#1: spec",
        ),
    ],
)
async def test_while_a_file_is_bad_all_stays_as_it_was(tmp_path: Path, text: str, error: str) -> None:
    directory = Directory(tmp_path)
    (tmp_path / "a.yaml").write_text(ONE)
    await directory.look()
    (tmp_path / "a.yaml").unlink()
    (tmp_path / "b.yaml").write_text(text)
    assert await directory.look() == ["default/one", "shop/two"]
    assert error in directory.book.error
    (tmp_path / "b.yaml").unlink()
    assert await directory.look() == []


@pytest.mark.asyncio
async def test_a_directory_that_vanishes_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    directory = Directory(tmp_path / "conf")
    (tmp_path / "conf" / "a.yaml").write_text(ONE)
    await directory.look()
    (tmp_path / "conf").rename(tmp_path / "elsewhere")
    assert await directory.look() == ["default/one", "shop/two"]
    assert not directory.book.live
