"""Whole migrations through the command, in a world whose time, traffic and outages the test decides."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest

from isthmus_controlplane.ctl.client import ApiError, UnreachableError
from isthmus_controlplane.ctl.migrate.cli import EXIT_REFUSED, EXIT_STOPPED, EXIT_WENT_BACK, Migration, add_options
from isthmus_controlplane.ctl.migrate.policy import new_policy, share_of, with_shares
from isthmus_controlplane.ctl.migrate.record import LEASE_S, read_record, with_record
from isthmus_controlplane.errors import ConfigError

HOST, INSTANCES = "web.shop", 10
Rate = Callable[[float, str], float]


class World:
    """A mesh of ten instances behind one policy, and its clock. ``at`` does things when their time has come.

    Attributes:
        rates: part of the requests that fails, by share and kind of address.
        requests: a second, to each address that is shown.
        down_until: nobody answers before.
        set: the shares that were written, in order.
    """

    def __init__(self, document: dict[str, Any] | None = None) -> None:
        self.time = 1000.0
        self.at: list[tuple[float, Callable[[], None]]] = []
        self.rates: Rate = lambda _share, _kind: 0.0
        self.requests = 10.0
        self.reporters = 3
        self.down_until = 0.0
        self.late = ""
        self.set: list[float] = []
        self.asked: list[float] = []
        self._held: dict[str, dict[str, Any]] = {}
        self._version = 0
        if document is not None:
            self.write(document)
            self.set.clear()

    # ---- Clock ----

    def now(self) -> float:
        return self.time

    def epoch(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        due = [each for each in self.at if each[0] <= self.time]
        self.at = [each for each in self.at if each not in due]
        for _, action in due:
            action()

    # ---- Mesh ----

    def policies(self) -> list[dict[str, Any]]:
        self._answer()
        return copy.deepcopy(list(self._held.values()))

    def write(self, document: dict[str, Any]) -> str:
        self._answer()
        name, seen = document["metadata"]["name"], document["metadata"].get("resourceVersion")
        held = self._held.get(name)
        if seen is not None and (held is None or held["metadata"]["resourceVersion"] != seen):
            raise ApiError("it has changed: read it again", [], 409)
        self._version += 1
        kept = copy.deepcopy(document)
        kept["metadata"]["resourceVersion"] = str(self._version)
        self._held[name] = kept
        if not self.set or self.set[-1] != self.share:
            self.set.append(self.share)
        return str(self._version)

    def check(self, _document: dict[str, Any]) -> list[dict[str, str]]:
        return []

    def waiting(self, policy: str, version: str, shares: dict[str, float], *, drained: bool) -> str:
        self._answer()
        assert drained is (record(self).phase in ("returning", "going-back"))
        assert policy == f"default/{self.document['metadata']['name']}"
        assert version == str(self._version)
        assert shares["mesh"] == self.share
        return self.late

    def page(self) -> Any:
        self._answer()
        mesh = math.ceil(INSTANCES * self.share / 100) if self._held else 0
        rows = [
            {
                "native": f"10.0.0.{n}:80", "mesh": f"10.0.0.{n}:81", "native_up": True, "mesh_up": True,
                "sdk": [f"10.0.0.{n}:{81 if n < mesh else 80}"], "mesh_shown": [f"10.0.0.{n}:{81 if n < mesh else 80}"],
            }
            for n in range(INSTANCES)
        ]  # fmt: skip
        return {"services": {"default/web.shop": {"instances": rows}}}

    def loads(self, seconds: float) -> tuple[Any, list[dict[str, Any]]]:
        self._answer()
        self.asked.append(seconds)
        settings = {"interval_s": 1.0, "window_s": 600.0, "reporters": self.reporters}
        if not self._held:
            return settings, []
        mesh = math.ceil(INSTANCES * self.share / 100)
        rows = []
        for n in range(INSTANCES):
            kind = "mesh" if n < mesh else "native"
            total = math.floor(self.requests * seconds)
            failed = round(total * self.rates(self.share, kind))
            address = f"10.0.0.{n}:{81 if n < mesh else 80}"
            rows.append({"address": address, "succeeded": total - failed, "failed": failed, "node": "n"})
        return settings, rows

    # ---- for tests ----

    def _answer(self) -> None:
        if self.time < self.down_until:
            raise UnreachableError("cannot reach the control plane")

    @property
    def document(self) -> dict[str, Any]:
        (document,) = self._held.values()
        return document

    @property
    def share(self) -> float:
        return share_of(self.document, "mesh")

    def edit(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.write(change(copy.deepcopy(self.document)))


class Journal:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, Any]]] = []

    def __call__(self, event: str, lines: list[str], **fields: Any) -> None:
        self.events.append((event, "\n".join(lines), fields))

    @property
    def kinds(self) -> list[str]:
        return [event for event, _, _ in self.events]

    def text(self, kind: str) -> str:
        return next(text for event, text, _ in self.events if event == kind)

    def fields(self, kind: str) -> dict[str, Any]:
        return next(fields for event, _, fields in self.events if event == kind)


def migrate(world: World, *arguments: str) -> tuple[int, Journal]:
    parser = argparse.ArgumentParser()
    add_options(parser)
    journal = Journal()
    options = parser.parse_args([HOST, *arguments])
    return Migration(world, world, journal, options).run(), journal  # type: ignore[arg-type]


UP = ("--to", "mesh", "--step", "25%", "--interval", "10s")


def at(percent: float) -> dict[str, Any]:
    return new_policy(HOST, "default", percent)


def record(world: World) -> Any:
    found = read_record(world.document)
    assert found is not None
    return found


def test_a_good_migration_reaches_all_of_it_and_comes_back() -> None:
    world = World(at(0))
    status, journal = migrate(world, *UP)
    assert (status, world.set) == (0, [0, 25, 50, 75, 100])
    said = [kind for kind in journal.kinds if kind != "watching"]
    assert said == ["begun", *["step", "applied", "held"] * 4, "done"]
    assert (
        journal.text("held")
        == "25 %: held: mesh addresses: 0 of 300 failed (0 %); native addresses: 0 of 700 failed (0 %)"
    )
    assert (record(world).status, record(world).percent) == ("completed", 100)
    assert max(world.asked) <= 11, "each step is judged by what came since it was applied"
    status, _ = migrate(world, "--to", "sdk", "--step", "50%", "--interval", "10s")
    assert (status, world.set[-3:]) == (0, [100, 50, 0])


def test_a_breach_goes_back_to_the_start_and_says_when_where_and_by_what() -> None:
    world = World(at(10))
    world.rates = lambda share, kind: 0.25 if kind == "mesh" and share > 50 else 0.0
    status, journal = migrate(world, *UP, "--abort-on", "error-rate>5%")
    assert (status, world.set) == (EXIT_WENT_BACK, [10, 35, 60, 10])
    fields = journal.fields("going-back")
    assert (fields["cause"], fields["failed_at"], fields["percent"]) == ("breach", 60, 10)
    assert fields["judged"]["error_rate"] == pytest.approx(0.2, abs=0.06)
    assert fields["beside"] == {"succeeded": fields["beside"]["succeeded"], "failed": 0, "error_rate": 0.0}
    assert [each["address"] for each in fields["worst"]] == [f"10.0.0.{n}:81" for n in range(6)]
    text = journal.text("going-back")
    assert text.startswith("1970-01-01T00:1")
    assert "at 60 %, " in text
    assert "error rate above 5 %: mesh addresses: " in text
    assert "\n  10.0.0.3:81: " in text
    assert text.endswith("\ngoing back to 10 %")
    assert "gone back within" in journal.text("back")
    assert (record(world).status, record(world).percent) == ("gone-back", 10)
    assert record(world).message.startswith("breach: 1970-")


def test_sides_that_began_at_different_shares_go_back_to_their_own() -> None:
    world = World(with_shares(at(0), {"sdk": 30.0}))
    world.rates = lambda share, _: 1.0 if share >= 50 else 0.0
    status, _ = migrate(world, *UP)
    assert status == EXIT_WENT_BACK
    assert {side: share_of(world.document, side) for side in ("sdk", "mesh")} == {"sdk": 30, "mesh": 0}


def test_only_the_side_that_is_named_is_walked() -> None:
    world = World(at(0))
    assert migrate(world, *UP, "--consumers", "mesh")[0] == 0
    assert {side: share_of(world.document, side) for side in ("sdk", "mesh")} == {"sdk": 0, "mesh": 100}


def test_without_traffic_it_waits_goes_back_and_says_why() -> None:
    world = World(at(0))
    world.requests = 0
    status, journal = migrate(world, *UP)
    assert (status, world.set) == (EXIT_STOPPED, [0, 25, 0])
    assert journal.fields("going-back")["cause"] == "no-data"
    assert "0 requests within 20.0 s, and 20 are needed to judge by" in journal.text("going-back")
    assert migrate(world, *UP, "--allow-no-data")[0] == 0
    assert world.share == 100


def test_nothing_is_begun_where_no_proxy_reports(capsys: pytest.CaptureFixture[str]) -> None:
    world = World(at(0))
    world.reporters = 0
    assert migrate(world, *UP)[0] == EXIT_REFUSED
    assert world.set == []
    assert "no proxy reports loads to this control plane" in capsys.readouterr().err


def test_what_is_not_applied_in_time_goes_back() -> None:
    world = World(at(0))
    world.late = "sidecar-7"
    status, journal = migrate(world, *UP, "--settle", "30s")
    assert (status, world.set) == (EXIT_STOPPED, [0, 25, 0])
    assert "not applied within 30 s: waiting for sidecar-7" in journal.text("going-back")
    assert "not confirmed by all: sidecar-7" in journal.text("back")


def test_an_outage_is_waited_for() -> None:
    world = World(at(0))
    world.at.append((1015.0, lambda: setattr(world, "down_until", 1060.0)))
    status, journal = migrate(world, *UP)
    assert (status, world.share) == (0, 100)
    assert journal.kinds.count("unreachable") >= 1


def test_a_long_outage_leaves_it_where_it_is_and_it_can_be_resumed_or_undone() -> None:
    world = World(at(0))
    world.at.append((1025.0, lambda: setattr(world, "down_until", 1400.0)))
    status, journal = migrate(world, *UP, "--patience", "30s")
    assert status == EXIT_STOPPED
    assert "cannot reach the control plane; it stays there: --resume goes on, --undo goes back" in journal.text(
        "stopped"
    )
    stands = world.share
    assert 0 < stands < 100
    world.time = 1400.0 + LEASE_S
    assert migrate(world, *UP)[0] == EXIT_REFUSED, "it is not begun anew"
    other = copy.deepcopy(world)
    world.set.clear()
    assert migrate(world, "--resume")[0] == 0
    assert world.set[0] == stands
    assert (world.share, record(world).status) == (100, "completed")
    other.set.clear()
    assert migrate(other, "--undo")[0] == 0
    assert (other.set[-1], record(other).status) == (0, "gone-back")


def test_a_completed_migration_can_be_undone_in_one_go() -> None:
    world = World(at(20))
    assert migrate(world, *UP)[0] == 0
    assert migrate(world, "--undo")[0] == 0
    assert world.set[-2:] == [100, 20]


def test_an_interrupted_one_says_so_in_its_record(capsys: pytest.CaptureFixture[str]) -> None:
    world = World(at(0))

    def interrupt() -> None:
        raise KeyboardInterrupt

    world.at.append((1018.0, interrupt))
    status, journal = migrate(world, *UP)
    assert (status, journal.kinds[-1]) == (EXIT_STOPPED, "interrupted")
    assert (record(world).status, record(world).percent) == ("interrupted", 50)
    assert migrate(world, *UP)[0] == EXIT_REFUSED
    assert "stands at 50 %: --resume goes on, --undo goes back" in capsys.readouterr().err
    written = list(world.set)
    for way in ("--resume", "--undo"):
        assert migrate(world, way, "--dry-run")[1].kinds == ["dry-run"]
    assert world.set == written
    assert migrate(world, "--resume", "--interval", "20s")[0] == 0
    assert (record(world).plan.interval_s, record(world).plan.step) == (20, 25)
    assert migrate(world, "--resume")[0] == EXIT_REFUSED
    assert "has ended: completed; nothing to resume" in capsys.readouterr().err


def test_a_second_migration_of_the_same_service_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    world = World(at(0))
    seen: list[tuple[int, str]] = []
    world.at.append((1005.0, lambda: seen.append((migrate(world, *UP)[0], capsys.readouterr().err))))
    world.at.append((1012.0, lambda: seen.append((migrate(world, "--undo")[0], capsys.readouterr().err))))
    assert migrate(world, *UP)[0] == 0
    assert [status for status, _ in seen] == [EXIT_REFUSED, EXIT_REFUSED]
    assert all("runs a migration of web.shop to mesh, now at" in text for _, text in seen)


def test_of_two_that_begin_at_once_one_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    world = World(at(0))
    first = world.write
    raced: list[int] = []

    def write(document: dict[str, Any]) -> str:
        if not raced:
            raced.append(0)
            raced[0] = migrate(world, *UP)[0]
        return first(document)

    world.write = write  # type: ignore[method-assign]
    assert migrate(world, *UP)[0] == EXIT_REFUSED
    assert raced == [0]
    assert "was changed just now" in capsys.readouterr().err


def test_it_stops_when_somebody_else_sets_the_share_or_takes_it_over() -> None:
    world = World(at(0))
    world.at.append((1005.0, lambda: world.edit(lambda held: with_shares(held, {"mesh": 77.0}))))
    status, journal = migrate(world, *UP)
    assert status == EXIT_STOPPED
    text = journal.text("stopped")
    assert "somebody set the shares of default/web-shop-migration to {'sdk': 25.0, 'mesh': 77.0}" in text
    assert text.endswith("it is left as it is")
    assert world.share == 77, "what the other one wants is left as it is"


def test_it_stops_when_another_migration_has_the_policy() -> None:
    world = World(at(0))
    world.at.append(
        (1005.0, lambda: world.edit(lambda held: with_record(held, dataclasses.replace(record(world), id="x"))))
    )
    status, journal = migrate(world, *UP)
    assert (status, world.share) == (EXIT_STOPPED, 25)
    assert "default/web-shop-migration has another migration, of " in journal.text("stopped")


def test_other_changes_of_the_policy_are_kept() -> None:
    world = World(at(0))

    def overlap(held: dict[str, Any]) -> dict[str, Any]:
        held["spec"]["overlap"] = "9s"
        return held

    world.at.append((1005.0, lambda: world.edit(overlap)))
    assert migrate(world, *UP)[0] == 0
    assert world.document["spec"]["overlap"] == "9s"


def test_it_is_heard_of_while_it_watches_for_long() -> None:
    world = World(at(0))
    ages: list[float] = []

    def look() -> None:
        ages.append(world.time - record(world).heard_at)
        world.at.append((world.time + 7, look))

    world.at.append((1002.0, look))
    assert migrate(world, "--to", "mesh", "--step", "100%", "--interval", "5m")[0] == 0
    assert len(ages) > 30
    assert max(ages) < LEASE_S / 2


def test_a_service_without_a_policy_gets_one_that_says_what_holds() -> None:
    world = World()
    assert migrate(world, *UP)[0] == 0
    assert world.set == [0, 25, 50, 75, 100]
    shown = World()
    shown.page = lambda: {"services": {"default/web.shop": {"instances": [  # type: ignore[method-assign]
        {"mesh": "10.0.0.1:81", "native": "10.0.0.1:80", "sdk": ["10.0.0.1:81"], "mesh_shown": ["10.0.0.1:81"]}]}}}  # fmt: skip
    assert migrate(shown, *UP)[0] == EXIT_REFUSED
    assert shown.set == []


def test_a_dry_run_changes_nothing() -> None:
    world = World(at(0))
    status, journal = migrate(world, *UP, "--dry-run")
    assert (status, world.set, journal.kinds) == (0, [], ["dry-run"])
    assert journal.fields("dry-run")["steps"] == [25, 50, 75, 100]


def test_where_it_is_there_already_nothing_is_done() -> None:
    world = World(at(100))
    status, journal = migrate(world, *UP)
    assert (status, world.set, journal.kinds) == (0, [], ["done"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--to: say mesh or sdk"),
        (("--to", "mesh", "--interval", "11m"), "--interval 11m: the control plane keeps 600 s"),
        (("--to", "mesh", "--min-requests", "0"), "--min-requests 0: must be at least 1"),
        (("--to", "mesh", "--abort-on", "p99>100ms"), "--abort-on p99>100ms"),
        (("--to", "mesh", "--undo"), "--to, --resume, --undo: say one of them"),
        (("--to", "mesh", "--policy", "x"), "--policy x: is no DualMode of web.shop"),
    ],
)
def test_wrong_options_are_named(arguments: tuple[str, ...], message: str) -> None:
    world = World(at(0))
    with pytest.raises(ConfigError) as refused:
        migrate(world, *arguments)
    assert message in str(refused.value)
    assert world.set == []
