"""Stores together: precedence, checks of messages, kinds of change, previews."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from isthmus_api.istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry
from isthmus_controlplane.model.model import MeshSettings
from isthmus_controlplane.model.testing import rule, service, split
from isthmus_controlplane.model.world import World
from isthmus_controlplane.stores.base import ConfigObject, ObjectKey, Problem, StoreState, config_object

FILES, MCP = "dir:conf", "xds://127.0.0.1:1"
HOST = "reviews.shop"


def state(source: str, objects: Iterable[ConfigObject] = (), *problems: Problem) -> StoreState:
    return StoreState(source, synced=True, objects={obj.key: obj for obj in objects}, problems=problems)


def world(*objects: ConfigObject) -> World:
    result = World([FILES, MCP], MeshSettings())
    result.take(state(FILES, objects))
    result.admit()
    return result


def entry(**changes: Any) -> ConfigObject:
    spec: Any = ServiceEntry(hosts=["mcp.shop"], resolution=ServiceEntry.STATIC)
    spec.ports.add(number=80, name="http", protocol="HTTP")
    for name, value in changes.items():
        setattr(spec, name, value)
    return config_object(ObjectKey("ServiceEntry", "default", "mcp"), spec, origin=MCP)


def test_synced_when_every_store_is() -> None:
    both = world()
    assert not both.synced
    both.take(state(MCP))
    assert both.synced


def test_an_object_of_two_stores_is_taken_from_the_first() -> None:
    mine, theirs = service("mcp.shop", "v1", name="mcp"), entry()
    both = world(mine)
    both.take(state(MCP, [theirs]))
    assert both.objects[mine.key] is mine
    assert any(problem.origin == MCP and "already defined" in problem.message for problem in both.problems())


def test_a_bad_message_keeps_the_last_good_form() -> None:
    good, both = entry(), world()
    both.take(state(MCP, [good]))
    bad = entry(resolution=ServiceEntry.NONE)
    assert both.take(state(MCP, [bad])) == ("none", "")
    assert both.objects[good.key] is good
    (problem,) = both.problems()
    assert (problem.path, problem.origin) == ("spec.resolution", f"{MCP} ({good.key})")


def test_a_message_that_was_never_good_is_left_out() -> None:
    both = world()
    both.take(state(MCP, [entry(resolution=ServiceEntry.NONE)]))
    assert both.objects == {}


def test_kinds_of_change() -> None:
    one = world()
    assert one.take(state(FILES, [service(HOST, "v1")])) == ("configuration", "ServiceEntry default/reviews-shop")
    assert one.take(state(FILES, [service(HOST, "v1", "v2")]))[0] == "endpoints"
    assert one.take(state(FILES, [service(HOST, "v1", "v2", port=81)]))[0] == "configuration"
    assert one.take(state(FILES, []))[0] == "configuration"
    assert one.take(state(FILES, []))[0] == "none"


def test_many_names_are_cut() -> None:
    _, names = world().take(state(FILES, [service(f"s{number}.shop", "v1") for number in range(5)]))
    assert names.endswith(" and 2 more")


def test_store_problems_are_passed_on() -> None:
    one = world()
    one.take(state(FILES, [], Problem("conf/a.yaml#1", "kind", "bad")))
    assert one.problems() == (Problem("conf/a.yaml#1", "kind", "bad"),)


def test_preview_tells_what_would_not_come_into_use() -> None:
    one = world(service(HOST, "v1"), rule(HOST, "v1"), split(HOST, {"v1": 1}))
    assert one.preview([split(HOST, {"v1": 2})]) == ()
    (problem,) = one.preview([split(HOST, {"v2": 1})])
    assert problem.path == "spec.http[0].route[0].destination.subset"
    assert one.preview([split(HOST, {"v2": 1}), rule(HOST, "v1", "v2")]) == ()


def test_preview_tells_what_a_deletion_would_break() -> None:
    one = world(service(HOST, "v1"), rule(HOST, "v1"), split(HOST, {"v1": 1}))
    assert one.preview((), [ObjectKey("DestinationRule", "default", "reviews-shop")])
    assert one.preview((), [ObjectKey("ServiceEntry", "default", "reviews-shop")])
    assert one.preview((), [ObjectKey("VirtualService", "default", "reviews-shop")]) == ()


def test_preview_changes_nothing_and_old_faults_do_not_block() -> None:
    one = world(service(HOST, "v1"), split(HOST, {"v9": 1}))
    problems = one.problems()
    assert one.preview([service("other.shop", "v1")]) == ()
    assert one.problems() == problems


def test_preview_tells_when_a_rule_turns_away_from_a_host_that_needs_it() -> None:
    one = world(service(HOST, "v1"), service("other.shop", "v1"), rule(HOST, "v1", name="r"), split(HOST, {"v1": 1}))
    (problem,) = one.preview([rule("other.shop", "v1", name="r")])
    assert "VirtualService default/reviews-shop routes to it" in problem.message
