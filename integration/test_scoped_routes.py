"""Scoped routes (SRDS, and scopes in the listener): the same script and the same requests for a live Envoy and for our proxy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from google.protobuf.json_format import ParseDict

from conformance.xds import files
from harness.envoy import Envoy
from harness.eventually import eventually
from harness.http import fetch
from harness.isthmus import Proxy
from harness.ports import accepts, free_port
from test_xds_make_before_break import bootstrap
from test_xds_trace import Plane

Side = Envoy | Proxy


def message(kind: type[Any], resource: dict[str, Any]) -> Any:
    return ParseDict({name: value for name, value in resource.items() if name != "@type"}, kind())


def scope(name: str, key: str, target: str) -> Any:
    return message(ScopedRouteConfiguration, files.scope(name, key, target))


def routes(name: str, text: str) -> Any:
    return message(RouteConfiguration, files.routes(name, text))


def ask(port: int, tenant: str) -> tuple[int, str]:
    if not accepts("127.0.0.1", port):
        return 0, ""
    answer = fetch(f"127.0.0.1:{port}", "/", headers={"x-tenant": tenant})
    return answer.status, answer.text


def play(kind: type[Side], directory: Path, port: int) -> dict[str, Any]:
    plane = Plane()
    plane.start()
    seen: dict[str, Any] = {}

    def said(name: str, *lines: str) -> None:
        eventually(lambda: all(line in plane.trace for line in lines), what=f"{lines}: {plane.trace}")
        seen[name], plane.trace[:] = list(plane.trace), []

    plane.say("CDS")
    plane.say("LDS", message(Listener, files.listener("l", port)))
    plane.say("SRDS", scope("red", "red", "r1"), scope("blue", "blue", "r2"))
    plane.say("RDS", routes("r1", "one"), routes("r2", "two"))
    try:
        with kind(bootstrap(f"127.0.0.1:{plane.port}", "GRPC"), directory) as side:
            side.wait_ready()
            said("start", "SRDS * v1 of SRDS1", "RDS r1,r2 v1 of RDS1", "LDS * v1 of LDS1")
            seen["answers"] = [ask(port, tenant) for tenant in ("id=red", "a=b,id=blue", "id=green", "red", "")]
            plane.say("SRDS", scope("red", "red", "r2"), scope("blue", "blue", "r2"))
            eventually(lambda: ask(port, "id=red") == (200, "two"))
            # Once for what is wanted, and once for what is sent upon that.
            eventually(lambda: plane.trace.count("RDS r2 v1 of RDS1") == 2, what=str(plane.trace))
            said("another route", "SRDS * v2 of SRDS2", "RDS r2 v1 of RDS1")
            dump = side.admin("/config_dump?resource=dynamic_scoped_route_configs").json()["configs"]
            seen["dump"] = [(each["name"], [scope["name"] for scope in each["scoped_route_configs"]]) for each in dump]
            plane.say("SRDS", scope("red", "red", "r2"), scope("again", "red", "r2"))
            said("a key twice", "SRDS * v2 of SRDS3 refused")
            seen["kept"] = ask(port, "id=red")
            plane.say("SRDS", scope("green", "green", "r3"))
            plane.say("RDS", routes("r3", "three"))
            eventually(lambda: ask(port, "id=green") == (200, "three"))
            seen["removed"] = ask(port, "id=red")
            plane.say("SRDS")
            eventually(lambda: ask(port, "id=green")[0] == 404)
            stats = side.admin("/stats?filter=scoped_rds").text.splitlines()
            names = ("update_success", "update_rejected")
            seen["stats"] = sorted(line for line in stats if line.split(":")[0].endswith(names))
    finally:
        plane.stop()
    return seen


@pytest.mark.peer("envoy")
def test_scopes_over_xds_are_envoys(tmp_path: Path) -> None:
    port = free_port()
    expected = play(Envoy, tmp_path / "envoy", port)
    found = play(Proxy, tmp_path / "isthmus", port)
    for name, seen in expected.items():
        assert found[name] == seen, name


def builder(**extractor: object) -> dict[str, Any]:
    return {"header_value_extractor": {"name": "x-key", **extractor}}


BUILDERS = {
    "index": [builder(element_separator=";", index=1)],
    "whole": [builder(index=0)],
    "element": [builder(element_separator=",", element={"separator": "=", "key": "k"})],
    "no separator": [builder(element={"separator": ":", "key": "k"})],
    "two": [builder(element_separator=",", index=0), {"header_value_extractor": {"name": ":path", "index": 0}}],
}
VALUES = [
    "",
    "a",
    "a;b",
    "a;b;c",
    ";",
    "k=b",
    "k=b=c",
    "x=y,k=b",
    "k,k=b",
    "k",
    "x, k=b",
    "k=a,k=b",
    "k:b",
    "K=b",
    "b",
    "b,a",
]
KEYS = ["", "a", "b", "b=c", "c"]


def static(name: str, port: int) -> dict[str, Any]:
    """A listener whose scopes are all in the file; each answers with its key."""
    listener = files.listener(name, port)
    scoped = listener["filter_chains"][0]["filters"][0]["typed_config"]["scoped_routes"]
    del scoped["scoped_rds"], scoped["rds_config_source"]
    builders = BUILDERS[name]
    scoped["scope_key_builder"] = {"fragments": builders}
    scopes = []
    for key in KEYS:
        each: dict[str, Any] = {"name": f"scope {key}", "key": {"fragments": [{"string_key": key}]}}
        if len(builders) == 2:
            each["key"]["fragments"].append({"string_key": "/"})
        own = files.routes(f"routes {key}", f"{key}.")
        scopes.append({**each, "route_configuration": {key: value for key, value in own.items() if key != "@type"}})
    scoped["scoped_route_configurations_list"] = {"scoped_route_configurations": scopes}
    return {key: value for key, value in listener.items() if key != "@type"}


@pytest.mark.peer("envoy")
def test_keys_are_envoys(tmp_path: Path) -> None:
    ports = {name: free_port() for name in BUILDERS}
    admin = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
    document = {"admin": admin, "static_resources": {"listeners": [static(name, port) for name, port in ports.items()]}}

    def answers(kind: type[Side], directory: Path) -> dict[tuple[str, str, str], tuple[int, str]]:
        with kind(document, directory) as side:
            side.wait_ready()
            found = {}
            for name, port in ports.items():
                for path in ("/", "/x"):
                    for value in VALUES:
                        answer = fetch(f"127.0.0.1:{port}", path, headers={"x-key": value} if value else {})
                        found[name, path, value] = answer.status, answer.text
            return found

    expected = answers(Envoy, tmp_path / "envoy")
    assert len(set(expected.values())) > 3
    assert answers(Proxy, tmp_path / "isthmus") == expected
