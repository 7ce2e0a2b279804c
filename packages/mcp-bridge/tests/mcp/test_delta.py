from __future__ import annotations

import itertools
from typing import Any

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse
from google.protobuf.any_pb2 import Any as ProtoAny

from isthmus_mcp_bridge.mcp import messages
from isthmus_mcp_bridge.mcp.delta import DeltaSession
from isthmus_mcp_bridge.mcp.session import MAX_TYPES, DeltaRequest, Outcome, Rejection, TooManyTypes
from isthmus_mcp_bridge.mcp.snapshot import Collection, Snapshot, SnapshotResource

SE = "networking.istio.io/v1/ServiceEntry"
GATEWAY = "networking.istio.io/v1/Gateway"


def snapshot(**versions: str) -> Snapshot:
    def resource(name: str, version: str) -> SnapshotResource:
        return SnapshotResource(name, version, ProtoAny(type_url=name, value=version.encode()).SerializeToString())

    return Snapshot(Collection({name: resource(name, version) for name, version in versions.items()}))


def session(first: Snapshot, max_body_bytes: int = 1 << 20) -> DeltaSession:
    numbers = itertools.count(1)
    made = DeltaSession(lambda: f"n{next(numbers)}", max_body_bytes)
    made.publish(first)
    return made


def sent(one: DeltaSession) -> Any:
    response = one.next_response()
    assert response is not None
    return DeltaDiscoveryResponse.FromString(messages.delta_response(response))


def content(response: Any) -> tuple[dict[str, str], list[str]]:
    assert all(one.resource.type_url == one.name for one in response.resources)
    return {one.name: one.version for one in response.resources}, list(response.removed_resources)


def ack(response: Any) -> DeltaRequest:
    return DeltaRequest(response.type_url, response.nonce)


def nack(response: Any) -> DeltaRequest:
    return DeltaRequest(response.type_url, response.nonce, error=Rejection(3, "no"))


def test_differences_against_what_was_acknowledged() -> None:
    one = session(snapshot(a="1", b="1"))
    assert one.handle_request(DeltaRequest(SE)) is Outcome.SUBSCRIBE
    first = sent(one)
    assert content(first) == ({"a": "1", "b": "1"}, [])
    assert first.system_version_info == snapshot(a="1", b="1").service_entries.version  # type: ignore[union-attr]
    assert one.handle_request(ack(first)) is Outcome.ACK
    one.publish(snapshot(b="2", c="1"))
    assert content(sent(one)) == ({"b": "2", "c": "1"}, ["a"])


def test_a_rejected_difference_waits_for_a_newer_snapshot_and_then_starts_from_the_acknowledged() -> None:
    one = session(snapshot(a="1", b="1"))
    one.handle_request(DeltaRequest(SE))
    first = sent(one)
    one.handle_request(ack(first))
    one.publish(snapshot(b="2"))
    assert one.handle_request(nack(sent(one))) is Outcome.NACK
    assert one.next_response() is None
    assert one.handle_request(ack(first)) is Outcome.STALE
    one.publish(snapshot(b="2"))
    assert one.next_response() is None
    one.publish(snapshot(b="2", d="1"))
    assert content(sent(one)) == ({"b": "2", "d": "1"}, ["a"])


def test_one_response_is_outstanding_and_the_newest_wins() -> None:
    one = session(snapshot(a="1"))
    one.handle_request(DeltaRequest(SE))
    first = sent(one)
    one.publish(snapshot(a="2", b="1"))
    one.publish(snapshot(a="3"))
    assert one.next_response() is None
    one.handle_request(ack(first))
    assert content(sent(one)) == ({"a": "3"}, [])


def test_a_second_answer_to_one_response_is_stale() -> None:
    one = session(snapshot(a="1"))
    one.handle_request(DeltaRequest(SE))
    first = sent(one)
    one.handle_request(ack(first))
    assert one.handle_request(nack(first)) is Outcome.STALE
    assert one.status[SE].rejection is None


def test_a_reconnected_sink_gets_only_what_it_lacks() -> None:
    one = session(snapshot(a="1", b="2"))
    one.handle_request(DeltaRequest(SE, held={"a": "1", "b": "1", "gone": "1"}))
    assert content(sent(one)) == ({"b": "2"}, ["gone"])


def test_a_reconnected_sink_that_lacks_nothing_gets_an_empty_answer() -> None:
    one = session(snapshot(a="1"))
    one.handle_request(DeltaRequest(SE, "old nonce", held={"a": "1"}))
    response = sent(one)
    assert content(response) == ({}, [])
    one.handle_request(ack(response))
    assert one.next_response() is None


def test_services_are_withheld_and_other_types_are_empty() -> None:
    one = session(Snapshot(None))
    one.handle_request(DeltaRequest(SE))
    one.handle_request(DeltaRequest(GATEWAY, held={"old": "1"}))
    response = sent(one)
    assert response.type_url == GATEWAY
    assert content(response) == ({}, ["old"])
    assert one.next_response() is None
    one.publish(snapshot(a="1"))
    assert content(sent(one)) == ({"a": "1"}, [])


def test_a_change_that_is_undone_before_it_could_be_sent_is_not_sent() -> None:
    one = session(snapshot(a="1"))
    one.handle_request(DeltaRequest(SE))
    first = sent(one)
    one.publish(snapshot(a="2"))
    one.publish(snapshot(a="1"))
    one.handle_request(ack(first))
    assert one.next_response() is None


def test_a_big_difference_travels_in_parts() -> None:
    one = session(snapshot(a="1", b="1", c="1"), max_body_bytes=1)
    one.handle_request(DeltaRequest(SE))
    parts = []
    while (response := one.next_response()) is not None:
        assert one.next_response() is None
        message = DeltaDiscoveryResponse.FromString(messages.delta_response(response))
        parts.append(content(message))
        one.handle_request(ack(message))
    assert parts == [({"a": "1"}, []), ({"b": "1"}, []), ({"c": "1"}, [])]


def test_named_resources_come_and_go() -> None:
    one = session(snapshot(a="1", b="1"))
    one.handle_request(DeltaRequest(SE, subscribe=("a", "missing")))
    first = sent(one)
    assert content(first) == ({"a": "1"}, ["missing"])
    one.handle_request(ack(first))
    assert one.next_response() is None
    one.handle_request(DeltaRequest(SE, subscribe=("b",), unsubscribe=("a",)))
    second = sent(one)
    assert content(second) == ({"b": "1"}, [])
    one.handle_request(ack(second))
    one.publish(snapshot(a="2", missing="1"))
    assert content(sent(one)) == ({"missing": "1"}, ["b"])


def test_asking_again_for_a_resource_sends_it_again() -> None:
    one = session(snapshot(a="1"))
    one.handle_request(DeltaRequest(SE, subscribe=("a",)))
    one.handle_request(ack(sent(one)))
    assert one.handle_request(DeltaRequest(SE, subscribe=("a",))) is Outcome.SUBSCRIBE
    assert content(sent(one)) == ({"a": "1"}, [])


@pytest.mark.parametrize("names", [(), ("*",)])
def test_everything_by_no_name_or_by_star(names: tuple[str, ...]) -> None:
    one = session(snapshot(a="1"))
    one.handle_request(DeltaRequest(SE, subscribe=names))
    assert content(sent(one)) == ({"a": "1"}, [])


def test_names_may_change_with_a_stale_nonce() -> None:
    one = session(snapshot(a="1", b="1"))
    one.handle_request(DeltaRequest(SE, subscribe=("a",)))
    one.handle_request(ack(sent(one)))
    assert one.handle_request(DeltaRequest(SE, "stale", subscribe=("b",))) is Outcome.SUBSCRIBE
    assert content(sent(one)) == ({"b": "1"}, [])


def test_types_at_the_limit() -> None:
    one = session(snapshot())
    for number in range(MAX_TYPES):
        one.handle_request(DeltaRequest(f"t/v1/{number}"))
    with pytest.raises(TooManyTypes):
        one.handle_request(DeltaRequest("t/v1/more"))
