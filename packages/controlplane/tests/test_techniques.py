"""What can be switched off for measurements changes what a push costs, never what clients end up with."""

from __future__ import annotations

import dataclasses
from typing import Any

import grpc
import pytest
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from isthmus_controlplane.errors import ConfigError
from isthmus_controlplane.model.scope import scope_of, scope_of_one
from isthmus_controlplane.snapshot.resource_type import ENDPOINT
from isthmus_controlplane.snapshot.snapshot import Snapshot
from isthmus_controlplane.techniques import ALL, Techniques, without
from isthmus_controlplane.xds.server import XdsServer
from isthmus_controlplane.xds.testing import endpoints, eventually, names_in, snapshot_of

OFF = [Techniques(**{field.name: False}) for field in dataclasses.fields(Techniques)]


def test_names_on_the_command_line() -> None:
    assert without("") is not None
    assert without("") == ALL
    assert without("affected-only, serialise-once") == Techniques(affected_only=False, serialise_once=False)
    with pytest.raises(ConfigError, match="--without speed: is not one of serialise-once, precompute-per-scope"):
        without("speed")


def test_a_scope_of_one_is_shared_by_nobody() -> None:
    one, other = Node(id="a"), Node(id="b")
    assert scope_of(one) == scope_of(other)
    assert scope_of_one(one) != scope_of_one(other)
    assert dataclasses.replace(scope_of_one(one), client="") == scope_of(one)


@pytest.mark.asyncio
@pytest.mark.parametrize("techniques", [ALL, *OFF], ids=str)
async def test_clients_get_the_same(techniques: Techniques) -> None:
    first, second = snapshot_of(endpoints("a", 1), endpoints("b", 1)), snapshot_of(endpoints("a", 1), endpoints("b", 2))
    server = XdsServer(
        "127.0.0.1:0", on_scope_needed=lambda scope: publish(scope, first, "start"), techniques=techniques
    )

    def publish(scope: Any, snapshot: Snapshot, cause: str) -> None:
        server.publish(scope, snapshot, cause)

    address = await server.start()
    channel: Any = grpc.aio.insecure_channel(address)
    call = channel.stream_stream(
        "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
        request_serializer=DeltaDiscoveryRequest.SerializeToString,
        response_deserializer=DeltaDiscoveryResponse.FromString,
    )()
    await call.write(DeltaDiscoveryRequest(node=Node(id="n"), type_url=ENDPOINT, resource_names_subscribe=["a", "b"]))
    response = await call.read()
    assert names_in(response) == ["a", "b"]
    await call.write(DeltaDiscoveryRequest(type_url=ENDPOINT, response_nonce=response.nonce))
    await eventually(lambda: server.metrics.total("acks") == 1)
    publish(scope_of(Node(id="n")), second, "change")
    response = await call.read()
    assert names_in(response) == (["b"] if techniques.affected_only else ["a", "b"])
    wanted = second.collection(ENDPOINT).resources["b"]
    assert response.resources[-1].version == wanted.version
    assert response.resources[-1].resource.SerializeToString() == wanted.body
    await channel.close(None)
    await server.stop(0)
