"""The admin endpoints of a whole control plane, with a real xDS client."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
import yaml
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.endpoint.v3.load_report_pb2 import ClusterStats, UpstreamEndpointStats
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from envoy.service.load_stats.v3.lrs_pb2 import LoadStatsRequest, LoadStatsResponse
from google.protobuf.duration_pb2 import Duration

from isthmus_controlplane.model.document import to_document
from isthmus_controlplane.model.testing import rule, service, split
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.telemetry.services import LRS
from isthmus_controlplane.testing import eventually_answers, running
from isthmus_controlplane.translate.translation import CLUSTER_TYPE

pytestmark = pytest.mark.asyncio

HOST = "reviews.shop"
GOOD = [service(HOST, "v1", "v2"), rule(HOST, "v1", "v2"), split(HOST, {"v1": 90, "v2": 10})]
YAML = {"content-type": "application/yaml"}


class Admin:
    """An HTTP client of the admin endpoints."""

    def __init__(self, session: aiohttp.ClientSession, addresses: dict[str, str]) -> None:
        self.session = session
        self.addresses = addresses

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        async with self.session.request(method, f"http://{self.addresses['admin']}{path}", **options) as response:
            text = await response.text()
            return response.status, json.loads(text) if response.content_type == "application/json" else text

    async def ready(self) -> bool:
        return (await self.call("GET", "/ready"))[0] == 200

    async def type_state(self) -> Any:
        (seen,) = (await self.call("GET", "/debug/syncz"))[1]["clients"]
        (kind,) = seen["types"]
        return kind

    async def is_in_state(self, state: str) -> bool:
        return bool((await self.type_state())["state"] == state)

    async def has_metric(self, line: str) -> bool:
        return line in (await self.call("GET", "/metrics"))[1]

    async def apply(self, *objects: ConfigObject) -> tuple[int, Any]:
        text = yaml.safe_dump_all([to_document(obj) for obj in objects])
        return await self.call("POST", "/v1/objects", data=text, headers=YAML)


@pytest_asyncio.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Admin]:
    async with running("memory:", tmp_path) as addresses, aiohttp.ClientSession() as session:
        result = Admin(session, addresses)
        await eventually_answers(result.ready)
        yield result


async def test_apply_get_and_delete(admin: Admin) -> None:
    status, answer = await admin.apply(*GOOD)
    assert status == 200
    assert [each["result"] for each in answer["applied"]] == ["created"] * 3
    assert answer["warnings"] == []
    status, answer = await admin.apply(*GOOD[:2], split(HOST, {"v1": 1}))
    assert [each["result"] for each in answer["applied"]] == ["unchanged", "unchanged", "configured"]
    _, answer = await admin.call("GET", "/v1/objects?kind=virtualservices&name=reviews-shop")
    (item,) = answer["items"]
    assert item["object"]["metadata"]["resourceVersion"] == item["version"]
    status, answer = await admin.call("DELETE", "/v1/objects/VirtualService/default/reviews-shop")
    assert (status, answer["deleted"]["name"]) == (200, "reviews-shop")
    status, answer = await admin.call("DELETE", "/v1/objects/VirtualService/default/reviews-shop")
    assert status == 404


async def test_a_bad_apply_names_the_path_and_writes_nothing(admin: Admin) -> None:
    await admin.apply(*GOOD)
    bad = yaml.safe_dump_all([to_document(service("other.shop")), to_document(GOOD[2]) | {"spec": {"hosts": 7}}])
    status, answer = await admin.call("POST", "/v1/objects", data=bad, headers=YAML)
    assert (status, answer["problems"][0]["origin"], answer["problems"][0]["path"]) == (422, "request#2", "spec.hosts")
    status, answer = await admin.apply(service("other.shop"), split(HOST, {"v3": 1}))
    assert (status, answer["problems"][0]["path"]) == (422, "spec.http[0].route[0].destination.subset")
    _, answer = await admin.call("GET", "/v1/objects")
    assert len(answer["items"]) == 3


async def test_files_are_named_in_problems(admin: Admin) -> None:
    files = {"files": {"a.yaml": yaml.safe_dump(to_document(GOOD[0])), "b.yaml": "kind: Gateway"}}
    status, answer = await admin.call("POST", "/v1/objects", json=files)
    assert status == 422
    assert {problem["origin"] for problem in answer["problems"]} == {"b.yaml#1"}


async def test_what_is_needed_cannot_be_deleted(admin: Admin) -> None:
    await admin.apply(*GOOD)
    status, answer = await admin.call("DELETE", "/v1/objects/DestinationRule/default/reviews-shop")
    assert status == 422
    assert "VirtualService default/reviews-shop routes to it" in answer["problems"][0]["message"]


async def test_an_apply_with_an_old_version_is_a_conflict(admin: Admin) -> None:
    await admin.apply(GOOD[0])
    document = to_document(service(HOST, "v3"))
    document["metadata"]["resourceVersion"] = "0000"
    status, answer = await admin.call("POST", "/v1/objects", data=yaml.safe_dump(document), headers=YAML)
    assert status == 409
    assert GOOD[0].version in answer["error"]
    document["metadata"]["resourceVersion"] = GOOD[0].version
    status, answer = await admin.call("POST", "/v1/objects", data=yaml.safe_dump(document), headers=YAML)
    assert status == 200


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"a: 1", {"content-type": "text/plain"}, 400),
        (b"a: 1", {"content-type": "application/x-www-form-urlencoded"}, 400),
        (b"\xff", YAML, 400),
        (b"[]", {"content-type": "application/json"}, 400),
        (b'{"files": []}', {"content-type": "application/json"}, 400),
        (b"{", {"content-type": "application/json"}, 400),
        (b"", YAML, 422),
        (b"a: [", YAML, 422),
        (b"7", YAML, 422),
    ],
)
async def test_bad_requests(admin: Admin, body: bytes, headers: dict[str, str], status: int) -> None:
    assert (await admin.call("POST", "/v1/objects", data=body, headers=headers))[0] == status


async def test_other_names_than_addresses_are_refused(admin: Admin) -> None:
    for host, expected in (
        ("evil.example", 403),
        ("evil.example:80", 403),
        ("localhost:1", 200),
        ("[::1]:1", 200),
        ("127.0.0.1", 200),
    ):
        status, _ = await admin.call("GET", "/ready", headers={"host": host})
        assert (host, status) == (host, expected)


async def test_unknown_kind_is_not_found(admin: Admin) -> None:
    assert (await admin.call("GET", "/v1/objects?kind=pod"))[0] == 404
    assert (await admin.call("DELETE", "/v1/objects/pod/default/x"))[0] == 404


class XdsClient:
    """One SotW ADS stream that answers as it is told."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address)
        method: Any = self._channel.stream_stream(
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
            request_serializer=DiscoveryRequest.SerializeToString,
            response_deserializer=DiscoveryResponse.FromString,
        )
        self._call = method()

    async def ask(self, node_id: str) -> Any:
        request: Any = DiscoveryRequest(type_url=CLUSTER_TYPE)
        request.node.id = node_id
        await self._call.write(request)
        return await self.read()

    async def read(self) -> Any:
        return await asyncio.wait_for(self._call.read(), 20)

    async def answer(self, response: Any, error: str = "", accepted: str = "") -> None:
        request: Any = DiscoveryRequest(type_url=CLUSTER_TYPE, response_nonce=response.nonce)
        request.version_info = accepted if error else response.version_info
        if error:
            request.error_detail.message = error
        await self._call.write(request)

    async def close(self) -> None:
        self._call.cancel()
        await self._channel.close(None)


async def test_syncz_shows_versions_and_leads_a_rejection_to_its_objects(admin: Admin) -> None:
    await admin.apply(*GOOD)
    client = XdsClient(admin.addresses["grpc"])
    response = await client.ask("sidecar~1~web.default~default.svc.cluster.local")
    await client.answer(response)
    await eventually_answers(functools.partial(admin.is_in_state, "SYNCED"))
    kind = await admin.type_state()
    assert (kind["type"], kind["version_acked"]) == ("CDS", response.version_info)
    await admin.apply(service(HOST, "v1", "v2", port=81))
    await client.answer(await client.read(), f"outbound|81||{HOST}: no", response.version_info)
    await eventually_answers(functools.partial(admin.is_in_state, "NACK"))
    nack = (await admin.type_state())["nack"]
    assert nack["message"] == f"outbound|81||{HOST}: no"
    assert nack["objects"] == ["DestinationRule default/reviews-shop", "ServiceEntry default/reviews-shop"]
    waited = (await admin.call("GET", "/v1/wait?timeout=20"))[1]
    assert (waited["applied"], waited["published"], waited["waiting_for"]) == (False, True, [])
    assert [each["objects"] for each in waited["rejections"]] == [nack["objects"]]
    items = (await admin.call("GET", "/v1/objects"))[1]["items"]
    accepted = {item["kind"]: item["conditions"][0] for item in items}
    assert {kind: each["status"] for kind, each in accepted.items()} == {
        "DestinationRule": "False",
        "ServiceEntry": "False",
        "VirtualService": "True",
    }
    assert "rejected by sidecar~1~web.default" in accepted["ServiceEntry"]["message"]
    await client.close()


async def test_explain_follows_a_request_to_what_users_wrote(admin: Admin) -> None:
    await admin.apply(*GOOD)
    await admin.call("GET", "/v1/wait?timeout=20")
    client = XdsClient(admin.addresses["grpc"])
    await client.answer(await client.ask("sidecar~1~web.default~default.svc.cluster.local"))
    await eventually_answers(functools.partial(admin.is_in_state, "SYNCED"))
    status, answer = await admin.call("GET", f"/v1/explain?client=web.default&host={HOST}&path=/x&header=a=b")
    assert (status, answer["client"]) == (200, "sidecar~1~web.default~default.svc.cluster.local")
    (way,) = answer["ways"]
    assert [each["name"] for each in way["listeners"]] == ["0.0.0.0_8080"]
    assert way["route_configuration"]["state"] == "not subscribed"
    assert way["virtual_host"]["name"] == f"{HOST}:8080"
    (route,) = way["routes"]
    assert (route["object"], route["path"]) == ("VirtualService default/reviews-shop", "spec.http[0]")
    cluster = route["clusters"][0]
    assert (cluster["name"], cluster["state"]) == (f"outbound|8080|v1|{HOST}", "acknowledged")
    assert cluster["endpoints"] == ["10.0.0.1:9000"]
    assert cluster["objects"] == ["DestinationRule default/reviews-shop", "ServiceEntry default/reviews-shop"]
    unknown = (await admin.call("GET", "/v1/explain?client=web&host=nobody"))[1]["ways"]
    assert [each["virtual_host"]["name"] for each in unknown] == ["block_all"]
    assert unknown[0]["routes"][0]["direct_response"] == 502
    assert (await admin.call("GET", f"/v1/explain?client=web&host={HOST}:81"))[1]["ways"] == []
    for query, wanted in (
        ("client=other&host=x", 404),
        ("client=web", 400),
        ("client=web&host=x&header=y", 400),
    ):
        assert (await admin.call("GET", f"/v1/explain?{query}"))[0] == wanted
    second = XdsClient(admin.addresses["grpc"])
    await second.ask("sidecar~2~web.default~default.svc.cluster.local")
    assert (await admin.call("GET", "/v1/explain?client=web&host=x"))[0] == 400
    await client.close()
    await second.close()


async def test_wait_names_who_has_not_answered(admin: Admin) -> None:
    client = XdsClient(admin.addresses["grpc"])
    await admin.apply(service(HOST, "v1"))
    await client.answer(await client.ask("slow"))
    await eventually_answers(functools.partial(admin.is_in_state, "SYNCED"))
    await admin.apply(service(HOST, "v1", port=81))
    waited = (await admin.call("GET", "/v1/wait?timeout=0.5"))[1]
    assert (waited["applied"], waited["waiting_for"]) == (False, ["slow"])
    await client.answer(await client.read())
    assert (await admin.call("GET", "/v1/wait?timeout=20"))[1]["applied"]
    assert (await admin.call("GET", "/v1/wait?timeout=soon"))[0] == 400
    await client.close()


async def test_limits_change_while_it_runs(admin: Admin) -> None:
    before = (await admin.call("GET", "/v1/limits"))[1]
    assert before == {
        "max_streams": 20_000,
        "streams_per_node": 0,
        "streams_per_second": 0.0,
        "stream_burst": 100,
        "max_stream_age": 0.0,
    }
    status, after = await admin.call("PATCH", "/v1/limits", json={"max_streams": 0})
    assert (status, after) == (200, before | {"max_streams": 0})
    client = XdsClient(admin.addresses["grpc"])
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.ask("one too many")
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    for wrong in ({"nonsense": 1}, {"max_streams": -1}, {"max_streams": True}, [1]):
        assert (await admin.call("PATCH", "/v1/limits", json=wrong))[0] == 400
    await client.close()


async def test_status_metrics_and_dumps(admin: Admin) -> None:
    await admin.apply(*GOOD)
    _, status = await admin.call("GET", "/status")
    assert (status["ready"], status["problems"], status["held"]) == (True, [], [])
    assert status["stores"] == [{"source": "memory:", "synced": True, "objects": 3, "problems": 0}]
    await eventually_answers(functools.partial(admin.has_metric, 'objects{kind="VirtualService"} 1'))
    _, configz = await admin.call("GET", "/debug/configz")
    assert {each["kind"] for each in configz["in_use"]} == {"ServiceEntry", "DestinationRule", "VirtualService"}
    assert (await admin.call("GET", "/problems"))[1] == {"problems": []}
    assert (await admin.call("GET", "/debug/pushes"))[1] == {"pushes": []}
    assert "GET /metrics" in (await admin.call("GET", "/"))[1]


async def test_not_ready_while_a_source_is_silent_and_ready_after_the_deadline(tmp_path: Path) -> None:
    silent = "xds://127.0.0.1:1"
    async with aiohttp.ClientSession() as session:
        async with running("memory:", tmp_path, mcp=(silent,)) as addresses:
            status, text = await Admin(session, addresses).call("GET", "/ready")
            assert (status, text) == (503, f"waiting for {silent}\n")
        async with running("memory:", tmp_path, mcp=(silent,), sync_deadline=0.01) as addresses:
            admin = Admin(session, addresses)
            await eventually_answers(admin.ready)
            _, answer = await admin.call("GET", "/status")
            assert [store["synced"] for store in answer["stores"]] == [True, False]
            assert any(problem["origin"] == silent for problem in answer["problems"])


async def test_loads_of_endpoints_are_shown_for_a_service_and_for_as_long_as_asked(admin: Admin) -> None:
    channel: Any = grpc.aio.insecure_channel(admin.addresses["grpc"])
    call = channel.stream_stream(
        f"/{LRS}/StreamLoadStats",
        request_serializer=LoadStatsRequest.SerializeToString,
        response_deserializer=LoadStatsResponse.FromString,
    )()
    await call.write(LoadStatsRequest(node=Node(id="n")))
    await call.read()
    endpoint = UpstreamEndpointStats(total_issued_requests=3, total_successful_requests=2, total_error_requests=1)
    endpoint.address.socket_address.address, endpoint.address.socket_address.port_value = "10.0.0.1", 80
    stats = ClusterStats(cluster_name=f"outbound|80||{HOST}", load_report_interval=Duration(seconds=10))
    stats.upstream_locality_stats.add(upstream_endpoint_stats=[endpoint])
    await call.write(LoadStatsRequest(cluster_stats=[stats]))

    async def arrived() -> bool:
        return bool((await admin.call("GET", "/debug/loads"))[1]["samples"] == 1)

    await eventually_answers(arrived)
    _, shown = await admin.call("GET", f"/debug/loads?host={HOST}")
    assert (shown["interval_s"], shown["window_s"]) == (10, 600)
    assert shown["endpoints"] == [
        {
            "cluster": f"outbound|80||{HOST}", "priority": 0, "locality": ["", "", ""], "address": "10.0.0.1:80", "node": "n",
            "issued": 3, "succeeded": 2, "failed": 1, "reports": 1,
        }
    ]  # fmt: skip
    assert len((await admin.call("GET", f"/debug/loads?cluster=outbound|80||{HOST}"))[1]["endpoints"]) == 1
    assert (await admin.call("GET", "/debug/loads?host=other.shop"))[1]["endpoints"] == []
    assert (await admin.call("GET", f"/debug/loads?host={HOST}&seconds=1"))[1]["endpoints"] == []
    status, answer = await admin.call("GET", f"/debug/loads?host={HOST}&seconds=601")
    assert (status, answer["error"]) == (400, "seconds: '601' is not a number of 0 to 600")
    assert await admin.has_metric("isthmus_xds_load_samples 1")
    await channel.close(None)
