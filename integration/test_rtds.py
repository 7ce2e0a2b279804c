"""Run-time layers over xDS, held against a live Envoy: when they are asked for, what they override, what the admin port shows."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from envoy.service.runtime.v3.rtds_pb2 import Runtime

from harness.envoy import Envoy
from harness.eventually import eventually
from harness.isthmus import Proxy
from test_xds_make_before_break import bootstrap

RUNTIME = "type.googleapis.com/envoy.service.runtime.v3.Runtime"


_END = DiscoveryRequest()
"""Marks the end of a stream: without it the thread that serves the stream would wait, and the process not end."""


class ControlPlane:
    """One layer for all; no clusters and no listeners. ``asked`` are types in the order in which they were asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.acknowledged: list[str] = []
        self._layer: dict[str, Any] = {"share": 10, "nested": {"text": "x"}}
        self._version = 1
        self._streams: list[queue.Queue[DiscoveryRequest | None]] = []
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        method = grpc.stream_stream_rpc_method_handler(
            self._stream, DiscoveryRequest.FromString, DiscoveryResponse.SerializeToString
        )
        service = "envoy.service.discovery.v3.AggregatedDiscoveryService"
        handler = grpc.method_handlers_generic_handler(service, {"StreamAggregatedResources": method})
        self._server.add_generic_rpc_handlers((handler,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def change(self, layer: dict[str, Any]) -> None:
        self._layer = layer
        self._version += 1
        for stream in self._streams:
            stream.put(None)

    def stop(self) -> None:
        self._server.stop(None)

    def _stream(self, requests: Iterator[DiscoveryRequest], _context: object) -> Iterator[DiscoveryResponse]:
        events: queue.Queue[DiscoveryRequest | None] = queue.Queue()
        self._streams.append(events)

        def read() -> None:
            try:
                for request in requests:
                    events.put(request)
            except grpc.RpcError:
                pass
            finally:
                events.put(_END)

        threading.Thread(target=read, daemon=True).start()
        while (request := events.get()) is not _END:
            if request is None:
                yield self._response(RUNTIME)
            elif request.response_nonce:
                self.acknowledged.append(f"{request.type_url.rpartition('.')[2]} {request.version_info}")
            else:
                self.asked.append(request.type_url.rpartition(".")[2])
                yield self._response(request.type_url)

    def _response(self, type_url: str) -> DiscoveryResponse:
        version = str(self._version)
        response = DiscoveryResponse(type_url=type_url, version_info=version, nonce=version)
        if type_url == RUNTIME:
            message = Runtime(name="shared")
            message.layer.update(self._layer)
            response.resources.add().Pack(message)
        return response


def layers() -> list[dict[str, Any]]:
    source = {"ads": {}, "resource_api_version": "V3"}
    return [
        {"name": "base", "static_layer": {"share": 1, "own": 2}},
        {"name": "sent", "rtds_layer": {"name": "shared", "rtds_config": source}},
        {"name": "admin", "admin_layer": {}},
    ]


def shown(side: Proxy | Envoy) -> Any:
    document = side.admin("/runtime").json()
    wanted = {"share", "own", "nested.text", "later"}
    return document["layers"], {key: value for key, value in document["entries"].items() if key in wanted}


def play(kind: type[Proxy | Envoy], directory: Path) -> list[Any]:
    plane = ControlPlane()
    document = {**bootstrap(f"127.0.0.1:{plane.port}", "GRPC"), "layered_runtime": {"layers": layers()}}
    try:
        with kind(document, directory) as side:
            side.wait_ready()
            eventually(lambda: len(plane.acknowledged) >= 3)
            seen = [plane.asked[:3], shown(side)]
            plane.change({"later": True})
            eventually(lambda: "Runtime 2" in plane.acknowledged)
            eventually(lambda: "later" in shown(side)[1])
            side.admin("/runtime_modify?later=false", "POST")
            counts = [side.stat(f"runtime.{name}") for name in ("update_success", "update_rejected", "update_failure")]
            return [*seen, shown(side), counts]
    finally:
        plane.stop()


@pytest.mark.peer("envoy")
def test_layers_over_xds_are_envoys(tmp_path: Path) -> None:
    found, expected = play(Proxy, tmp_path), play(Envoy, tmp_path)
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(expected))
