"""Resources from files that are moved into place: the same files, and the same answers, for a live Envoy and for our proxy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conformance.xds import files
from harness.envoy import Envoy
from harness.eventually import eventually
from harness.http import fetch
from harness.isthmus import Proxy, write_atomically
from harness.origin import Origin
from harness.ports import accepts, free_port

Side = Envoy | Proxy
_TYPES = "type.googleapis.com/envoy.config."


class Files:
    """A directory with a file for each type."""

    def __init__(self, folder: Path, port: int) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._port = port

    def source(self, name: str, *, deprecated: bool = False) -> dict[str, Any]:
        path = str(self._folder / f"{name}.json")
        named = {"path": path} if deprecated else {"path_config_source": {"path": path}}
        return {**named, "resource_api_version": "V3"}

    def put(self, name: str, *resources: dict[str, Any]) -> None:
        self.put_text(name, json.dumps({"version_info": "1", "resources": list(resources)}))

    def put_text(self, name: str, text: str) -> None:
        write_atomically(self._folder / f"{name}.json", text)

    def cluster(self, **fields: object) -> dict[str, Any]:
        made = {"@type": f"{_TYPES}cluster.v3.Cluster", "name": "c", "type": "EDS", "connect_timeout": "1s"}
        return {**made, "eds_cluster_config": {"eds_config": self.source("eds")}, **fields}

    def endpoints(self, port: int) -> dict[str, Any]:
        address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
        endpoint = {"lb_endpoints": [{"endpoint": {"address": address}}]}
        kind = f"{_TYPES}endpoint.v3.ClusterLoadAssignment"
        return {"@type": kind, "cluster_name": "c", "endpoints": [endpoint]}

    def listener(self) -> dict[str, Any]:
        made = files.listener("l", self._port, routes="none")
        manager = made["filter_chains"][0]["filters"][0]["typed_config"]
        del manager["route_config"]
        manager["rds"] = {"route_config_name": "r", "config_source": self.source("rds", deprecated=True)}
        return made

    def routes(self, cluster: str) -> dict[str, Any]:
        route = {"match": {"prefix": "/"}, "route": {"cluster": cluster}}
        return {**files.routes("r", ""), "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]}


def ask(port: int) -> tuple[int, str | None]:
    if not accepts("127.0.0.1", port):
        return 0, None
    answer = fetch(f"127.0.0.1:{port}", "/")
    return answer.status, answer.header("x-service")


def play(kind: type[Side], directory: Path, port: int, one: Origin, two: Origin) -> list[object]:
    seen: list[object] = []
    put = Files(directory / "files", port)
    put.put("cds", put.cluster())
    put.put("eds", put.endpoints(one.port))
    put.put("lds", put.listener())
    put.put("rds", put.routes("c"))
    admin = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
    dynamic = {"cds_config": put.source("cds"), "lds_config": put.source("lds")}
    node = {"id": "n", "cluster": "c"}
    with kind({"node": node, "admin": admin, "dynamic_resources": dynamic}, directory) as side:
        side.wait_ready()
        eventually(lambda: ask(port) == (200, "one"))
        put.put("eds", put.endpoints(two.port))
        eventually(lambda: ask(port) == (200, "two"))
        put.put("rds", put.routes("gone"))
        eventually(lambda: ask(port)[0] == 503)
        put.put("rds", put.routes("c"))
        eventually(lambda: ask(port) == (200, "two"))
        put.put_text("cds", "{ this is no document")
        eventually(lambda: side.stat("cluster_manager.cds.update_failure") >= 1)
        seen.append(ask(port))
        put.put("cds", put.cluster(eds_cluster_config={}))
        eventually(lambda: side.stat("cluster_manager.cds.update_rejected") >= 1)
        seen.append(ask(port))
        put.put("lds")
        eventually(lambda: not accepts("127.0.0.1", port))
    return seen


@pytest.mark.peer("envoy")
def test_files_are_followed_as_envoy_follows_them(tmp_path: Path) -> None:
    port = free_port()
    with Origin("one", "v1", tmp_path) as one, Origin("two", "v1", tmp_path) as two:
        expected = play(Envoy, tmp_path / "envoy", port, one, two)
        assert expected == [(200, "two")] * 2
        assert play(Proxy, tmp_path / "isthmus", port, one, two) == expected
