"""A rejection by a live Envoy, and by our proxy, named by the object and field of the user; and ``isthmusctl explain``."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.xds import world
from harness.envoy import OLDEST, Envoy
from harness.eventually import eventually
from harness.http import fetch
from harness.isthmus import ControlPlane, Proxy
from harness.origin import Origin
from harness.ports import free_port
from isthmus_controlplane.model.testing import document as istio_document
from test_xds_make_before_break import bootstrap

pytestmark = pytest.mark.peer("envoy")
BAD = "/a{1001}"  # Python's engine takes it, RE2 repeats at most 1,000 times
OBJECT, FIELD = "VirtualService default/a-shop", "spec.http[0].match[0].uri.regex"


class World:
    """A control plane, one service, and an Envoy or one of our proxies with a listener for it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.origin = Origin("a", "v1", folder)
        self.service = world.service("a.shop", self.origin.port, number=self.port)
        self.plane = ControlPlane(world.store(folder, self.service, self.routes("/a")), folder)

    def routes(self, regex: str) -> dict[str, Any]:
        matched = {"match": [{"uri": {"regex": regex}}], "route": [world.to("a.shop")]}
        return world.routes("a.shop", matched, {"route": [world.to("a.shop")], "headers": _STAMP})

    def write(self, regex: str) -> None:
        world.write(self.folder, self.service, self.routes(regex))

    def bootstrap(self) -> dict[str, Any]:
        document = bootstrap(self.plane.grpc_address, "GRPC")
        document["node"]["metadata"] = {"INTERCEPTION_MODE": "NONE"}
        return document

    def close(self) -> None:
        self.plane.stop()
        self.origin.stop()

    def conditions(self) -> list[dict[str, Any]]:
        conditions: list[dict[str, Any]] = self.plane.status()["conditions"]
        return conditions


_STAMP = {"response": {"set": {"x-route": "rest"}}}


class GatewayWorld(World):
    """The same routes at a gateway, of a VirtualService or of an HTTPRoute of the Gateway API."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.kind, self.edge = kind, free_port()
        super().__init__(folder)

    def bootstrap(self) -> dict[str, Any]:
        document = super().bootstrap()
        document["node"] |= {"id": "router~127.0.0.1~edge.default~x", "metadata": {"LABELS": {"istio": "edge"}}}
        return document

    def write(self, regex: str) -> None:
        world.write(self.folder, self.service, self.gateway(), self.routes(regex))

    def gateway(self) -> dict[str, Any]:
        port = {"number": self.edge, "name": "http", "protocol": "HTTP"}
        server = {"port": port, "bind": "127.0.0.1", "hosts": ["a.example"]}
        return istio_document("Gateway", "edge", {"selector": {"istio": "edge"}, "servers": [server]})

    def routes(self, regex: str) -> dict[str, Any]:
        if self.kind == "VirtualService":
            matched = {"match": [{"uri": {"regex": regex}}], "route": [world.to("a.shop")]}
            return istio_document(
                "VirtualService", "bound", {"hosts": ["a.example"], "gateways": ["edge"], "http": [matched]}
            )
        istio = "networking.istio.io"
        backend = {"group": istio, "kind": "Hostname", "name": "a.shop", "port": self.port}
        rules = [{"matches": [{"path": {"type": "RegularExpression", "value": regex}}], "backendRefs": [backend]}]
        parents = [{"group": istio, "kind": "Gateway", "name": "edge"}]
        return istio_document("HTTPRoute", "bound", {"parentRefs": parents, "hostnames": ["a.example"], "rules": rules})


@pytest.mark.parametrize(
    ("written", "field"),
    [("VirtualService", "spec.http[0].match[0].uri.regex"), ("HTTPRoute", "spec.rules[0].matches[0].path.value")],
)
@pytest.mark.parametrize("kind", [Envoy, Proxy])
def test_a_rejection_by_a_gateway_names_the_route(
    tmp_path: Path, kind: type[Envoy | Proxy], written: str, field: str
) -> None:
    one = GatewayWorld(tmp_path, written)
    with contextlib.closing(one), kind(one.bootstrap(), tmp_path) as side:
        side.wait_ready()
        one.write("/a")
        eventually(lambda: fetch(f"127.0.0.1:{one.edge}", "/a", headers={"host": "a.example"}).status == 200)
        one.write(BAD)
        eventually(one.conditions)
        (condition,) = one.conditions()
        assert (condition["object"], condition["paths"]) == (f"{written} default/bound", [field])
        assert fetch(f"127.0.0.1:{one.edge}", "/a", headers={"host": "a.example"}).status == 200


@pytest.fixture
def made(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path)
    with contextlib.closing(one):
        yield one


@pytest.mark.parametrize(
    "kind", [functools.partial(Envoy, version=OLDEST), Envoy, Proxy], ids=["oldest Envoy", "Envoy", "Proxy"]
)
def test_a_rejection_names_object_and_field_until_it_is_mended(
    made: World, tmp_path: Path, kind: Callable[..., Envoy | Proxy]
) -> None:
    explain = ["explain", "client.shop", f"a.shop:{made.port}", "/b"]
    with kind(made.bootstrap(), tmp_path) as side:
        side.wait_ready()
        eventually(lambda: made.plane.ctl(*explain, check=False).returncode == 0)
        explained = made.plane.ctl(*explain).stdout
        assert f"listener             127.0.0.1_{made.port} [acknowledged]" in explained
        assert f"route                1  <- {OBJECT} spec.http[1]" in explained
        assert f"endpoints        {made.origin.address} [acknowledged]" in explained
        assert "<- ServiceEntry default/a-shop" in explained

        made.write(BAD)
        eventually(made.conditions)
        (condition,) = made.conditions()
        assert (condition["object"], condition["paths"]) == (OBJECT, [FIELD])
        assert (condition["type"], condition["status"]) == ("Accepted", "False")
        shown = made.plane.ctl("status").stdout
        assert f"made from {OBJECT} {FIELD}" in shown
        assert f"{OBJECT}  Accepted=False  RejectedByClients  {FIELD}" in shown
        assert made.plane.ctl("status", "--check", check=False).returncode == 1
        waited = made.plane.ctl("wait", "--applied", "--timeout", "20", check=False)
        assert waited.returncode == 1
        assert f"{OBJECT} {FIELD}" in waited.stderr
        refused = json.loads(made.plane.ctl(*explain, "-o", "json", check=False).stdout)
        assert refused["ways"][0]["route_configuration"]["state"] == "rejected"
        # It goes on with what it had.
        assert fetch(f"127.0.0.1:{made.port}", "/b", headers={"host": "a.shop"}).header("x-route") == "rest"

        made.write("/ab*")
        eventually(lambda: not made.conditions())
        assert made.plane.ctl("wait", "--applied").returncode == 0
        assert made.plane.ctl(*explain).returncode == 0
