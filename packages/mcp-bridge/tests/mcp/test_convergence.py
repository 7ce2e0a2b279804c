"""A real session and a model of a sink, joined in memory: whatever happens between them, they agree in the end."""

from __future__ import annotations

import itertools

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from google.protobuf.any_pb2 import Any as ProtoAny
from hypothesis import given
from hypothesis import strategies as st

from isthmus_mcp_bridge.mcp import messages
from isthmus_mcp_bridge.mcp.delta import DeltaSession
from isthmus_mcp_bridge.mcp.session import DeltaRequest, Rejection, SotwRequest
from isthmus_mcp_bridge.mcp.snapshot import Collection, Snapshot, SnapshotResource
from isthmus_mcp_bridge.mcp.sotw import SotwSession

SE = "networking.istio.io/v1/ServiceEntry"
State = dict[str, str]
states = st.dictionaries(st.sampled_from("abcde"), st.sampled_from("123"))
Step = State | str
"""A snapshot to publish, or what the sink does: take a response, acknowledge it, reject it, answer an old one."""
steps = st.lists(st.one_of(states, st.sampled_from(["receive", "ack", "nack", "stale"])), max_size=40)
LAST: State = {"end": "1"}


def snapshot(state: State) -> Snapshot:
    resources = {
        name: SnapshotResource(name, version, ProtoAny(type_url=name, value=version.encode()).SerializeToString())
        for name, version in state.items()
    }
    return Snapshot(Collection(resources))


@given(steps, states, st.sampled_from([1, 60, 1 << 20]))
def test_delta(steps: list[Step], held: State, max_body_bytes: int) -> None:
    numbers = itertools.count()
    session = DeltaSession(lambda: f"n{next(numbers)}", max_body_bytes)
    session.publish(snapshot({}))
    session.handle_request(DeltaRequest(SE, "any", held=held))
    has, pending = dict(held), None
    for step in [*steps, "receive", "ack", LAST, *["receive", "ack"] * 20]:
        if isinstance(step, dict):
            session.publish(snapshot(step))
        elif step == "receive":
            response = session.next_response()
            assert response is None or pending is None
            pending = pending or response
        elif step == "stale":
            session.handle_request(DeltaRequest(SE, "stale"))
        elif pending is not None:
            if step == "ack":
                message = DeltaDiscoveryResponse.FromString(messages.delta_response(pending))
                has.update({one.name: one.resource.value.decode() for one in message.resources})
                for name in message.removed_resources:
                    has.pop(name, None)
            error = None if step == "ack" else Rejection(3, "no")
            session.handle_request(DeltaRequest(SE, pending.nonce, error=error))
            pending = None
    assert has == LAST


@given(steps)
def test_sotw(steps: list[Step]) -> None:
    numbers = itertools.count()
    session = SotwSession(lambda: f"n{next(numbers)}")
    session.publish(snapshot({}))
    session.handle_request(SotwRequest(SE, "time"))
    has: State = {}
    pending = None
    rejected = ""
    for step in [*steps, "receive", "ack", LAST, "receive", "ack"]:
        if isinstance(step, dict):
            session.publish(snapshot(step))
        elif step == "receive":
            response = session.next_response()
            assert response is None or pending is None
            assert response is None or response.version != rejected
            pending = pending or response
        elif step == "stale":
            session.handle_request(SotwRequest(SE, "stale" if pending else "n999"))
        elif pending is not None:
            error = None
            if step == "ack":
                message = DiscoveryResponse.FromString(messages.sotw_response(pending))
                has = {one.type_url: one.value.decode() for one in message.resources}
                rejected = ""
            else:
                error, rejected = Rejection(3, "no"), pending.version
            session.handle_request(SotwRequest(SE, pending.nonce, error=error))
            pending = None
    assert has == LAST
