"""Secrets, run-time layers, extensions and scoped routes from files of the control plane, as a live Envoy and our proxy take them."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.xds import files
from conformance.xds import world as istio
from harness.envoy import Envoy
from harness.eventually import eventually
from harness.http import fetch
from harness.isthmus import ControlPlane, Proxy
from harness.origin import Origin
from harness.ports import accepts, free_port
from isthmus_controlplane.supplement.testing import make_certificate
from isthmus_proxy.xds.last_good import decode
from isthmus_proxy.xds.resources import EXTENSION
from test_xds_make_before_break import bootstrap

pytestmark = pytest.mark.peer("envoy")
LAYERS = [{"name": "flags", "rtds_layer": {"name": "flags", "rtds_config": files.ADS}}]


class World:
    """A control plane with resources and secrets in files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plain, self.secure = free_port(), free_port()
        self.options = files.options(folder, *self.resources(stamp="one", share=10))
        self.plane = ControlPlane("memory:", folder, options=self.options)

    def resources(self, *, stamp: str, share: int) -> list[dict[str, Any]]:
        return [
            files.runtime("flags", share=share),
            files.extension("stamp", stamp),
            files.scope("scope-red", "red", "routes-red"),
            files.scope("scope-blue", "blue", "routes-blue"),
            files.routes("routes-red", "red"),
            files.routes("routes-blue", "blue"),
            files.listener("plain", self.plain, stamp="stamp"),
            files.listener("secure", self.secure, secret=files.SECRET_NAME),
        ]

    def document(self, variant: str) -> dict[str, Any]:
        return {**bootstrap(self.plane.grpc_address, variant), "layered_runtime": {"layers": LAYERS}}

    def ask(self, tenant: str) -> tuple[int, str, str | None]:
        answer = fetch(f"127.0.0.1:{self.plain}", "/", headers={"x-tenant": f"id={tenant}"})
        return answer.status, answer.text, answer.header("x-stamp")

    def certificate(self) -> str:
        """The certificate that the secure listener shows."""
        return ssl.get_server_certificate(("127.0.0.1", self.secure), timeout=10)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.plane.stop()


def flags(side: Envoy | Proxy) -> dict[str, Any]:
    entries: dict[str, Any] = side.admin("/runtime").json()["entries"]
    return {name: entry["final_value"] for name, entry in entries.items()}


@pytest.mark.parametrize("variant", ["GRPC", "DELTA_GRPC"])
def test_envoy_takes_every_type_and_its_changes(world: World, tmp_path: Path, variant: str) -> None:
    secrets = tmp_path / "secrets"
    with Envoy(world.document(variant), tmp_path) as envoy:
        envoy.wait_ready()
        assert flags(envoy) == {"share": "10"}
        eventually(lambda: world.ask("red") == (200, "red", "one"))
        assert world.ask("blue") == (200, "blue", "one")
        assert world.ask("green")[0] == 404
        shown = world.certificate()
        assert shown.split() == (secrets / f"{files.SECRET_NAME}.crt").read_text().split()

        files.write(tmp_path, *world.resources(stamp="two", share=20))
        eventually(lambda: world.ask("red") == (200, "red", "two"))
        eventually(lambda: flags(envoy) == {"share": "20"})

        certificate, key = make_certificate(tmp_path / "renewed", "renewed")
        shutil.copyfile(key, secrets / f"{files.SECRET_NAME}.key")
        shutil.copyfile(certificate, secrets / f"{files.SECRET_NAME}.crt")
        eventually(lambda: world.certificate() != shown)
    told = "".join(path.read_text() for path in tmp_path.glob("isthmus-controlplane*.log"))
    dumped = "".join(world.plane.admin(path).text for path in ("/debug/syncz", "/debug/configz", "/status", "/metrics"))
    assert "SDS" in dumped
    assert "PRIVATE KEY" not in told + dumped


def test_our_proxy_takes_layers_and_secrets(world: World, tmp_path: Path) -> None:
    port, secret = world.secure, files.listener("secure", world.secure, secret=files.SECRET_NAME)
    manager = secret["filter_chains"][0]["filters"][0]["typed_config"]
    del manager["scoped_routes"]
    manager["rds"] = {"route_config_name": "routes-red", "config_source": files.ADS}
    files.write(tmp_path, files.runtime("flags", share=10), files.routes("routes-red", "red"), secret)
    with Proxy(world.document("GRPC"), tmp_path) as proxy:
        proxy.wait_ready()
        eventually(lambda: flags(proxy) == {"share": "10"})
        trusted = ssl.create_default_context(cafile=str(tmp_path / "secrets" / f"{files.SECRET_NAME}.crt"))

        def asked() -> tuple[int, bytes]:
            with contextlib.closing(http.client.HTTPSConnection("localhost", port, timeout=20, context=trusted)) as one:
                one.request("GET", "/")
                answer = one.getresponse()
                return answer.status, answer.read()

        eventually(lambda: asked() == (200, b"red"), what="a listener whose secret and routes are there")


@pytest.mark.parametrize("variant", ["GRPC", "DELTA_GRPC"])
def test_our_proxy_takes_extensions_and_scopes(world: World, tmp_path: Path, variant: str) -> None:
    cache = ["--xds-cache-path", str(tmp_path / "last-good")]
    with Proxy(world.document(variant), tmp_path / "first", options=cache) as proxy:
        proxy.wait_ready()
        eventually(lambda: world.ask("red") == (200, "red", "one"))
        assert world.ask("blue") == (200, "blue", "one")
        assert world.ask("green")[0] == 404
        files.write(tmp_path, *world.resources(stamp="two", share=20))
        eventually(lambda: world.ask("red") == (200, "red", "two"))
        eventually(lambda: flags(proxy) == {"share": "20"})
        eventually(lambda: restored(tmp_path) == "two")
        world.plane.kill()
        proxy.kill()
        proxy.restart()
        proxy.wait_ready()
        assert proxy.stat("xds_cache.serving") == 1
        assert world.ask("red") == (200, "red", "two")
        assert world.ask("blue") == (200, "blue", "two")
        assert world.ask("green")[0] == 404


def restored(directory: Path) -> str:
    """The stamp of the extension in the last good configuration."""
    saved = decode((directory / "last-good").read_bytes())
    (stamp,) = (item for each in saved.types if each.type_url == EXTENSION for item in each.resources)
    return "two" if b"two" in stamp.resource.value else "one"


def test_envoy_asks_for_virtual_hosts_when_it_needs_them(tmp_path: Path) -> None:
    port = free_port()
    with Origin("a", "v1", tmp_path) as first, Origin("b", "v1", tmp_path) as second:
        one, two = (
            istio.service(f"{name}.shop", side.port, number=port) for name, side in (("a", first), ("b", second))
        )
        with ControlPlane(istio.store(tmp_path, one), tmp_path) as plane:
            document = bootstrap(plane.grpc_address, "DELTA_GRPC")
            document["node"]["metadata"] = {"INTERCEPTION_MODE": "NONE", "VIRTUAL_HOSTS_ON_DEMAND": "true"}

            def ask(host: str) -> tuple[int, str | None]:
                answer = fetch(f"127.0.0.1:{port}", "/", headers={"host": host})
                return answer.status, answer.header("x-service")

            def hosts(envoy: Envoy) -> list[str]:
                dump = envoy.config_dump()["configs"]
                tables = [each for config in dump for each in config.get("dynamic_route_configs", [])]
                names = (host["name"] for each in tables for host in each["route_config"].get("virtual_hosts", []))
                return sorted(names)

            with Envoy(document, tmp_path) as envoy:
                envoy.wait_ready()
                assert hosts(envoy) == []
                assert ask(f"a.shop:{port}") == (200, "a")
                assert hosts(envoy) == [f"{port}/a.shop"]
                assert ask("a.shop") == (200, "a")
                assert ask("b.shop")[0] == 404
                istio.write(tmp_path, one, two)
                eventually(lambda: ask("b.shop") == (200, "b"))
                assert hosts(envoy) == [f"{port}/a.shop", f"{port}/b.shop"]
                istio.write(tmp_path, two)
                eventually(lambda: ask("a.shop")[0] == 404)
                eventually(lambda: hosts(envoy) == [f"{port}/b.shop"])


def test_envoy_takes_a_collection_by_its_place(tmp_path: Path) -> None:
    place, ports = "xdstp://mesh/envoy.config.listener.v3.Listener/edge", [free_port(), free_port()]
    one, two = (files.listener(f"{place}/{number}", port, routes="inline") for number, port in enumerate(ports))
    options = files.options(tmp_path, one)
    with ControlPlane("memory:", tmp_path, options=options) as plane:
        document = bootstrap(plane.grpc_address, "DELTA_GRPC")
        document["dynamic_resources"]["lds_resources_locator"] = f"{place}/*"
        with Envoy(document, tmp_path) as envoy:
            envoy.wait_ready()
            assert fetch(f"127.0.0.1:{ports[0]}", "/").text == "inline"
            files.write(tmp_path, one, two)
            eventually(lambda: accepts("127.0.0.1", ports[1]))
            files.write(tmp_path, two)
            eventually(lambda: not accepts("127.0.0.1", ports[0]))
            assert fetch(f"127.0.0.1:{ports[1]}", "/").text == "inline"


def test_envoy_polls_by_rest(tmp_path: Path) -> None:
    port = free_port()
    one, two = (files.listener("polled", port, routes=text) for text in ("one", "two"))
    options = [*files.options(tmp_path, one), "--rest", "127.0.0.1:0"]
    with ControlPlane("memory:", tmp_path, options=options) as plane:
        document = bootstrap(plane.addresses["rest"], "REST")
        (xds,) = document["static_resources"]["clusters"]
        del xds["typed_extension_protocol_options"]
        polled = {"api_type": "REST", "transport_api_version": "V3", "cluster_names": ["xds"], "refresh_delay": "0.2s"}
        source = {"api_config_source": polled, "resource_api_version": "V3"}
        document["dynamic_resources"] = {"lds_config": source}
        with Envoy(document, tmp_path) as envoy:
            envoy.wait_ready()
            eventually(lambda: accepts("127.0.0.1", port))
            assert fetch(f"127.0.0.1:{port}", "/").text == "one"
            files.write(tmp_path, two)
            eventually(lambda: fetch(f"127.0.0.1:{port}", "/").text == "two")
            assert envoy.stat("listener_manager.lds.update_rejected") == 0
