"""A whole control plane with DualMode: the commands take it in every embedded store, and readers of objects get it by xDS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
import yaml
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.ads_pb2_grpc import AggregatedDiscoveryServiceStub
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from google.protobuf.struct_pb2 import Struct

from isthmus_api.dualmode.v1alpha1.dual_mode_pb2 import DualMode
from isthmus_api.istio.mcp.v1alpha1.resource_pb2 import Resource
from isthmus_controlplane.ctl.client import Client
from isthmus_controlplane.model.document import to_document
from isthmus_controlplane.model.testing import policy
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.testing import running

pytestmark = pytest.mark.asyncio

TYPE = "isthmus.io/v1alpha1/DualMode"
DEADLINE_S = 20.0


def reader(node_id: str) -> Node:
    metadata = Struct()
    metadata.update({"GENERATOR": "api"})
    return Node(id=node_id, metadata=metadata)


@pytest_asyncio.fixture(params=["dir", "memory"])
async def plane(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    (tmp_path / "conf").mkdir()
    store = f"dir:{tmp_path / 'conf'}" if request.param == "dir" else "memory:"
    async with running(store, tmp_path) as addresses:
        yield addresses


async def apply(plane: dict[str, str], *objects: ConfigObject) -> Any:
    text = yaml.safe_dump_all([to_document(obj) for obj in objects])
    return await asyncio.to_thread(Client(f"http://{plane['admin']}").apply, {"a.yaml": text})


async def delete(plane: dict[str, str], name: str) -> None:
    await asyncio.to_thread(Client(f"http://{plane['admin']}").delete, "dualmode", "default", name)


class Sotw:
    """A sink that asks for full state."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.call = AggregatedDiscoveryServiceStub(channel).StreamAggregatedResources()

    async def ask(self) -> None:
        await self.call.write(DiscoveryRequest(node=reader("bridge-a"), type_url=TYPE))

    async def policies(self) -> dict[str, DualMode]:
        """The next response, acknowledged."""
        async with asyncio.timeout(DEADLINE_S):
            response: Any = await self.call.read()
        await self.call.write(
            DiscoveryRequest(type_url=TYPE, version_info=response.version_info, response_nonce=response.nonce)
        )
        return dict(unpacked(packed) for packed in response.resources)


class Delta:
    """A sink that asks for changes, and adds them up."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.call = AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
        self.held: dict[str, DualMode] = {}

    async def ask(self) -> None:
        await self.call.write(
            DeltaDiscoveryRequest(node=reader("bridge-b"), type_url=TYPE, resource_names_subscribe=["*"])
        )

    async def policies(self) -> dict[str, DualMode]:
        """What is held after the next response, acknowledged."""
        async with asyncio.timeout(DEADLINE_S):
            response: Any = await self.call.read()
        await self.call.write(DeltaDiscoveryRequest(type_url=TYPE, response_nonce=response.nonce))
        for name in response.removed_resources:
            del self.held[name]
        self.held |= dict(unpacked(each.resource) for each in response.resources)
        return dict(self.held)


def unpacked(packed: Any) -> tuple[str, DualMode]:
    resource = Resource()
    assert packed.Unpack(resource)
    body = DualMode()
    assert resource.body.Unpack(body)
    assert resource.metadata.version
    return resource.metadata.name, body


@pytest.mark.parametrize("variant", [Sotw, Delta])
async def test_readers_of_objects_follow_the_policies(plane: dict[str, str], variant: type[Sotw | Delta]) -> None:
    await apply(plane, policy("one", host="greeter"))
    async with grpc.aio.insecure_channel(plane["grpc"]) as channel:
        sink = variant(channel)
        await sink.ask()
        found = await until(sink, "default/one")
        assert found == {"default/one": DualMode(host="greeter.default.svc.cluster.local")}
        await apply(plane, policy("two", sdk={"prefer": ["mesh"]}))
        await until(sink, "default/one", "default/two")
        await delete(plane, "one")
        await until(sink, "default/two")
        await delete(plane, "two")
        await until(sink)


async def until(sink: Sotw | Delta, *names: str) -> dict[str, DualMode]:
    """The policies as soon as they are those named; several applies may be one push, or one apply come after the start."""
    while (found := await sink.policies()).keys() != set(names):
        pass
    return found


async def test_no_policies_are_an_answer_too(plane: dict[str, str]) -> None:
    async with grpc.aio.insecure_channel(plane["grpc"]) as channel:
        sink = Sotw(channel)
        await sink.ask()
        assert await sink.policies() == {}


async def test_apply_and_analyze_warn_and_refuse(plane: dict[str, str]) -> None:
    answer = await apply(plane, policy("one", host="greeter.shop"))
    assert [warning["path"] for warning in answer["warnings"]] == ["spec.host"]
    assert answer["applied"][0]["result"] == "created"
    client = Client(f"http://{plane['admin']}")
    text = yaml.safe_dump(to_document(policy("two", host="greeter.shop")))
    answer = await asyncio.to_thread(client.analyze, {"a.yaml": text})
    assert answer["problems"] == []
    assert [warning["path"] for warning in answer["warnings"]] == ["spec", "spec.host"]
    (item,) = (await asyncio.to_thread(client.get, "/v1/objects", kind="dualmodes"))["items"]
    assert item["object"]["apiVersion"] == "isthmus.io/v1alpha1"
