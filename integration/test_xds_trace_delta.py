"""The xDS client on a delta stream against a scripted control plane, beside a live Envoy given the same script."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from google.protobuf.message import Message

from harness.envoy import Envoy
from harness.eventually import eventually
from harness.isthmus import Proxy
from harness.ports import free_port
from test_extension_discovery import listener as extended
from test_extension_discovery import stamp, wrong
from test_xds_make_before_break import bootstrap
from test_xds_trace import NAMES, URLS, cluster, compare, endpoints, listener, routes

Side = Envoy | Proxy
_END = DeltaDiscoveryRequest()
Versions = dict[str, str]


def _name(message: Message) -> str:
    return str(getattr(message, "cluster_name", "") or getattr(message, "name", ""))


def _version(message: Message) -> str:
    return hashlib.sha256(message.SerializeToString(deterministic=True)).hexdigest()[:8]


@dataclass
class Plane:
    """Sends each stream what it subscribed to and does not have. ``trace`` is what clients said."""

    trace: list[str] = field(default_factory=list)
    resources: dict[str, dict[str, Message]] = field(default_factory=dict)
    port: int = 0
    detail: str = ""

    def start(self) -> None:
        self._streams: list[queue.Queue[DeltaDiscoveryRequest | str]] = []
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        method = grpc.stream_stream_rpc_method_handler(
            self._stream, DeltaDiscoveryRequest.FromString, DeltaDiscoveryResponse.SerializeToString
        )
        service = "envoy.service.discovery.v3.AggregatedDiscoveryService"
        handler = grpc.method_handlers_generic_handler(service, {"DeltaAggregatedResources": method})
        self._server.add_generic_rpc_handlers((handler,))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def say(self, kind: str, *messages: Message) -> None:
        """All resources of a type from now on; each stream is sent what it needs of them."""
        self.resources[kind] = {_name(message): message for message in messages}
        for stream in self._streams:
            stream.put(kind)

    def _stream(self, requests: Iterator[DeltaDiscoveryRequest], _context: object) -> Iterator[DeltaDiscoveryResponse]:
        events: queue.Queue[DeltaDiscoveryRequest | str] = queue.Queue()
        self._streams.append(events)
        asked: dict[str, set[str]] = {}
        sent: dict[str, Versions] = {}
        nonces: dict[str, int] = {}

        def read() -> None:
            try:
                for request in requests:
                    events.put(request)
            except grpc.RpcError:
                pass
            finally:
                events.put(_END)

        threading.Thread(target=read, daemon=True).start()
        while (event := events.get()) is not _END:
            kind = event if isinstance(event, str) else self._hear(event, asked, sent)
            response = self._response(kind, asked[kind], sent[kind]) if kind in asked else None
            if response is not None:
                nonces[kind] = nonces.get(kind, 0) + 1
                response.nonce = f"{kind}{nonces[kind]}"
                yield response
        self._streams.remove(events)

    def _hear(self, request: DeltaDiscoveryRequest, asked: dict[str, set[str]], sent: dict[str, Versions]) -> str:
        kind = NAMES[request.type_url]
        names = request.resource_names_subscribe
        words = [kind, *(f"+{name}" for name in sorted(names))]
        words += [f"-{name}" for name in sorted(request.resource_names_unsubscribe)]
        words += [f"has {name}" for name in sorted(request.initial_resource_versions)]
        words.append(f"of {request.response_nonce}" if request.response_nonce else "told")
        if request.HasField("error_detail"):
            words.append("refused")
            self.detail = request.error_detail.message
        self.trace.append(" ".join(words))
        if kind not in asked:
            asked[kind], sent[kind] = set(names) or {"*"}, dict(request.initial_resource_versions)
        asked[kind].update(names)
        asked[kind].difference_update(request.resource_names_unsubscribe)
        for name in (*names, *request.resource_names_unsubscribe):
            # What is asked for is sent, whether it was or not, but for what the client says that it has.
            if name not in request.initial_resource_versions:
                sent[kind].pop(name, None)
        return kind

    def _response(self, kind: str, asked: set[str], sent: Versions) -> DeltaDiscoveryResponse | None:
        response = DeltaDiscoveryResponse(type_url=URLS[kind], system_version_info="s")
        there = self.resources.get(kind, {})
        for name, message in there.items():
            if (name in asked or "*" in asked) and sent.get(name) != _version(message):
                sent[name] = _version(message)
                response.resources.add(name=name, version=sent[name]).resource.Pack(message)
        gone = [name for name in sent if name not in there]
        for name in gone:
            del sent[name]
        response.removed_resources.extend(gone)
        return response if response.resources or gone else None


def brief(name: str) -> Any:
    """A cluster whose endpoints are waited for only half a second."""
    made = cluster(name)
    made.eds_cluster_config.eds_config.initial_fetch_timeout.FromMilliseconds(500)
    return made


def hasty(made: Any) -> Any:
    """``made`` with routes that are waited for only half a second."""
    packed = made.filter_chains[0].filters[0].typed_config
    manager = HttpConnectionManager()
    packed.Unpack(manager)
    manager.rds.config_source.initial_fetch_timeout.FromMilliseconds(500)
    packed.Pack(manager)
    return made


def play(kind: type[Side], directory: Path, port: int) -> dict[str, Any]:
    plane = Plane()
    plane.start()
    steps: dict[str, Any] = {}

    def step(name: str, *lines: str) -> None:
        """All that was said since the last step, once each of ``lines`` was."""
        eventually(lambda: all(line in plane.trace for line in lines), what=f"{name}: {lines}: {plane.trace}")
        steps[name], plane.trace[:] = list(plane.trace), []

    def shown(*names: str) -> list[str]:
        text = side.admin("/clusters").text
        return [name for name in names if f"{name}::" in text]

    plane.say("CDS", cluster("a"), cluster("b"))
    plane.say("EDS", endpoints("a", 1), endpoints("b", 2))
    plane.say("LDS", listener("l", port, "r"))
    plane.say("RDS", routes("r", "a"))
    try:
        with kind(bootstrap(f"127.0.0.1:{plane.port}", "DELTA_GRPC"), directory) as side:
            side.wait_ready()
            step("start", "CDS of CDS1", "EDS of EDS1", "LDS of LDS1", "RDS of RDS1")
            plane.say("EDS", endpoints("a", 3), endpoints("b", 2))
            step("endpoints of one", "EDS of EDS2")
            plane.say("CDS", cluster("a"), cluster("b"), cluster("bad", sound=False))
            step("a bad cluster", "CDS of CDS2 refused")
            steps["reason"] = "bad" in plane.detail
            plane.say("CDS", cluster("a"))
            step("clusters removed", "CDS of CDS3", "EDS -b told")
            steps["clusters"] = shown("a", "b", "bad")
            plane.say("EDS")
            step("endpoints removed", "EDS of EDS3")
            steps["endpoint"] = "a::127.0.0.1:3::" in side.admin("/clusters").text
            plane.say("EDS", endpoints("a", 3))
            step("endpoints back", "EDS of EDS4")
            plane.say("CDS", cluster("a"), brief("late"))
            step("a cluster without endpoints", "CDS of CDS4", "EDS +late told")
            eventually(lambda: side.stat("cluster_manager.warming_clusters") == 0)
            steps["late"] = shown("late"), side.stat("cluster.late.init_fetch_timeout")
            plane.say("LDS", listener("l", port, "r"), listener("m", port + 1, "s"))
            step("a listener without routes", "LDS of LDS2", "RDS +s told")
            steps["warming"] = side.stat("listener_manager.total_listeners_warming")
            plane.say("RDS", routes("r", "a"), routes("s", "a"))
            step("its routes", "RDS of RDS2")
            eventually(lambda: side.stat("listener_manager.total_listeners_warming") == 0)
            plane.say("LDS", listener("l", port, "r"), extended("n", port + 2, "stamp"))
            step("a filter", "LDS of LDS3", "ECDS +stamp told")
            plane.say("ECDS", stamp("one"))
            step("the filter", "ECDS of ECDS1")
            plane.say("ECDS", wrong())
            step("a bad filter", "ECDS of ECDS2 refused")
            filtered = extended("n", port + 2, "stamp")
            plane.say("LDS", listener("l", port, "r"), filtered, hasty(listener("o", port + 1, "none")))
            step("a listener whose routes never come", "LDS of LDS4")
            eventually(lambda: side.stat("listener_manager.total_listeners_warming") == 0)
            steps["in vain"] = side.stat("http.o.rds.none.init_fetch_timeout")
            plane.stop()
            resources = {**plane.resources, "EDS": {"a": endpoints("a", 4)}, "CDS": {"a": cluster("a")}}
            resources["ECDS"] = {"stamp": stamp("one")}
            plane = Plane([], resources, plane.port)
            plane.start()
            step("another server at the address", "CDS of CDS1", "EDS of EDS1")
            steps["at last"] = shown("a", "late")
            steps["updates"] = {
                name: side.stat(name)
                for name in ("cluster_manager.cds.update_rejected", "listener_manager.lds.update_rejected")
            }
    finally:
        plane.stop()
    return steps


@pytest.mark.peer("envoy")
def test_messages_on_a_delta_stream_are_envoys_in_envoys_order(tmp_path: Path) -> None:
    port = free_port()
    expected = play(Envoy, tmp_path / "envoy", port)
    found = play(Proxy, tmp_path / "isthmus", port)
    compare(expected, found, draining=("a filter", "another server at the address"))
