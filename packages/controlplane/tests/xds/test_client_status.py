"""CSDS: what the server knows of each client, resource by resource."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.status.v3.csds_pb2 import ClientStatusRequest, ClientStatusResponse, ConfigStatus
from envoy.type.matcher.v3.node_pb2 import NodeMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.message import Message

from isthmus_controlplane.snapshot.resource_type import CLUSTER, ENDPOINT
from isthmus_controlplane.xds import client_status as module
from isthmus_controlplane.xds.client_status import client_status
from isthmus_controlplane.xds.errors import StreamError
from isthmus_controlplane.xds.fleet import Client
from isthmus_controlplane.xds.message import Variant
from isthmus_controlplane.xds.server import XdsServer
from isthmus_controlplane.xds.testing import Conversation, cluster, endpoints


def client(node_id: str, talk: Conversation) -> Client:
    return Client(1, "peer", "method", 0.0, talk.session, lambda: None, node=Node(id=node_id))


def statuses(*clients: Client, **request: Any) -> dict[str, list[tuple[str, str, str]]]:
    answer = client_status(ClientStatusRequest(**request), clients)
    return {
        config.node.id: [
            (each.type_url.rpartition(".")[2], each.name, ConfigStatus.Name(each.config_status))
            for each in config.generic_xds_configs
        ]
        for config in answer.config
    }


def by_id(**pattern: str) -> list[Message]:
    return [NodeMatcher(node_id=StringMatcher(**pattern))]


def test_each_resource_has_its_state() -> None:
    talk = Conversation(Variant.DELTA)
    talk.publish(cluster("good"), cluster("bad"), endpoints("sent", 1))
    (clusters,) = talk.delta(CLUSTER)
    talk.nack(clusters, "cluster bad: no such thing")
    talk.delta(ENDPOINT, ["sent", "absent"])
    assert statuses(client("a", talk)) == {
        "a": [
            ("Cluster", "bad", "ERROR"),
            ("Cluster", "good", "SYNCED"),
            ("ClusterLoadAssignment", "sent", "STALE"),
            ("ClusterLoadAssignment", "absent", "NOT_SENT"),
        ]
    }
    entry = client_status(ClientStatusRequest(), [client("a", talk)]).config[0].generic_xds_configs[0]
    assert entry.error_state.details == "cluster bad: no such thing"


def test_clients_are_selected_by_node_id() -> None:
    one, other = client("web-1", Conversation(Variant.DELTA)), client("db-1", Conversation(Variant.DELTA))
    assert statuses(one, other).keys() == {"web-1", "db-1"}
    assert statuses(one, other, node_matchers=by_id(exact="db-1")).keys() == {"db-1"}
    assert statuses(one, other, node_matchers=by_id(prefix="web")).keys() == {"web-1"}
    with pytest.raises(StreamError, match="only node_id"):
        statuses(one, node_matchers=by_id(suffix="1"))


def test_too_many_clients_are_refused() -> None:
    many = [client(str(number), Conversation(Variant.DELTA)) for number in range(module.MAX_CLIENTS + 1)]
    assert len(statuses(*many[1:])) == module.MAX_CLIENTS
    with pytest.raises(StreamError, match="1001 clients match"):
        statuses(*many)


@pytest.mark.asyncio
async def test_both_methods_are_served() -> None:
    server = XdsServer("127.0.0.1:0", on_scope_needed=lambda _: None)
    address = await server.start()
    channel: Any = grpc.aio.insecure_channel(address)
    convert = {
        "request_serializer": ClientStatusRequest.SerializeToString,
        "response_deserializer": ClientStatusResponse.FromString,
    }
    fetch = channel.unary_unary(f"/{module.SERVICE}/FetchClientStatus", **convert)
    assert await fetch(ClientStatusRequest()) == ClientStatusResponse()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await fetch(ClientStatusRequest(node_matchers=by_id(contains="x")))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    stream = channel.stream_stream(f"/{module.SERVICE}/StreamClientStatus", **convert)()
    for _ in range(2):
        await stream.write(ClientStatusRequest())
        assert await stream.read() == ClientStatusResponse()
    await channel.close(None)
    await server.stop(0)
