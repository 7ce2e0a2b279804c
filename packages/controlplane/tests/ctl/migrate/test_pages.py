"""What the load page and the bridge's page say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from isthmus_controlplane.ctl.migrate.bridge_page import addresses, shown_by_mesh, waiting_for
from isthmus_controlplane.ctl.migrate.figures import Addresses, Figures, Requests, figures

DOCS = Path(__file__).parents[5] / "docs" / "reference" / "dual-mode.md"


def instance(number: int, *, mesh: bool = False, **changes: Any) -> dict[str, Any]:
    native, own = f"10.0.0.{number}:80", f"10.0.0.{number}:81"
    shown = [own] if mesh else [native]
    return {
        "id": f"i{number}", "port": "http", "native": native, "mesh": own, "native_up": True, "mesh_up": True,
        "sdk": shown, "mesh_shown": shown, "policy": "default/p", "rule": "migration", "sdk_rule": "migration",
        "sdk_draining_s": {}, "mesh_draining_s": {},
    } | changes  # fmt: skip


def page(*instances: dict[str, Any], version: str = "v2") -> dict[str, Any]:
    return {
        "policies": {"versions": {"default/p": version}},
        "services": {"default/web": {"instances": list(instances)}},
    }


SHARES = {"sdk": 50.0, "mesh": 50.0}


def test_the_shares_are_there_once_the_bridge_has_the_version_and_shows_them() -> None:
    half = page(instance(1, mesh=True), instance(2))
    assert waiting_for(half, "default/p", "v2", SHARES) == ""
    assert "version v2 of the policy, not v3" in waiting_for(half, "default/p", "v3", SHARES)
    assert "version none" in waiting_for({**half, "policies": None}, "default/p", "v2", SHARES)
    early = page(instance(1), instance(2))
    assert waiting_for(early, "default/p", "v2", SHARES) == (
        "the bridge shows 0 mesh addresses, not 1, of default/web/http to sdk consumers"
    )
    part = page(instance(1, mesh=True), instance(2, mesh_shown=["10.0.0.2:81"]))
    assert "2 mesh addresses, not 1, of default/web/http to mesh consumers" in waiting_for(
        part, "default/p", "v2", SHARES
    )
    assert "no instance that default/p governs" in waiting_for(page(instance(1, policy="")), "default/p", "v2", SHARES)


def test_what_is_down_cannot_be_shown_and_is_not_waited_for() -> None:
    down = page(instance(1, mesh_up=False), instance(2, mesh_up=False))
    assert waiting_for(down, "default/p", "v2", SHARES) == ""
    lonely = page(instance(1, mesh=True, native_up=False), instance(2, mesh=True, native_up=False))
    assert waiting_for(lonely, "default/p", "v2", SHARES) == ""


def test_on_the_way_back_what_was_shown_before_has_to_be_gone() -> None:
    leaving = page(instance(1, mesh=True), instance(2, mesh_draining_s={"10.0.0.2:81": 3.5}))
    assert waiting_for(leaving, "default/p", "v2", SHARES) == ""
    late = waiting_for(leaving, "default/p", "v2", SHARES, drained=True)
    assert late == "1 addresses of default/web/http stay valid for 3.5 s more"
    assert waiting_for(page(instance(1, mesh=True), instance(2)), "default/p", "v2", SHARES, drained=True) == ""


def test_overrides_do_not_count() -> None:
    fixed = instance(3, mesh=True, rule="override", sdk_rule="override")
    assert waiting_for(page(instance(1, mesh=True), instance(2), fixed), "default/p", "v2", SHARES) == ""


def test_each_port_of_a_service_has_its_share() -> None:
    more = page(instance(1, mesh=True), instance(2, port="grpc"))
    assert "of default/web/grpc" in waiting_for(more, "default/p", "v2", SHARES)


def test_the_page_in_the_reference_can_be_read() -> None:
    text = DOCS.read_text().partition("```json\n")[2].partition("```")[0]
    shown = json.loads(text)
    assert addresses(shown) == Addresses(frozenset({"10.0.0.7:20881"}), frozenset({"10.0.0.7:20880"}))
    assert shown_by_mesh(shown, "sdk") == (1, 1)
    assert waiting_for(shown, "default/greeter", "0a1b2c3d4e5f6071", {"sdk": 10.0}) == ""


def row(address: str, succeeded: int, failed: int, node: str = "n") -> dict[str, Any]:
    return {"address": address, "succeeded": succeeded, "failed": failed, "node": node}


ROWS = [
    row("10.0.0.1:80", 90, 0),
    row("10.0.0.1:81", 5, 5),
    row("10.0.0.1:81", 4, 1, "m"),
    row("10.0.0.2:81", 1, 0),
    row("10.9.9.9:1", 7, 7),
]


def test_addresses_are_told_apart_by_the_bridges_page() -> None:
    known = addresses(page(instance(1), instance(2)))
    up = figures(ROWS, known, "mesh")
    assert (up.judged, up.beside, up.told_apart, up.nodes) == (Requests(10, 6), Requests(90, 0), True, 2)
    assert up.worst == [("10.0.0.1:81", Requests(9, 6))]
    down = figures(ROWS, known, "sdk")
    assert (down.judged, down.beside, down.worst) == (Requests(90, 0), Requests(10, 6), [])


def test_without_a_bridge_all_are_judged_as_one() -> None:
    found = figures(ROWS, None, "mesh")
    assert (found.judged, found.beside, found.told_apart) == (Requests(107, 13), Requests(), False)
    assert [address for address, _ in found.worst] == ["10.9.9.9:1", "10.0.0.1:81"]
    assert figures([], None, "mesh") == Figures()


def test_a_rate_without_requests_is_none() -> None:
    assert Requests().rate == 0.0
    assert Requests(3, 1).rate == 0.25
