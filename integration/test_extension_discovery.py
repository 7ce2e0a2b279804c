"""HTTP filters whose configuration comes over xDS (ECDS): the same script for a live Envoy and for our proxy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.http.buffer.v3.buffer_pb2 import Buffer
from envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import HeaderMutation
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from harness.envoy import Envoy
from harness.eventually import eventually
from harness.http import fetch
from harness.isthmus import Proxy
from harness.ports import accepts, free_port
from test_xds_make_before_break import bootstrap
from test_xds_trace import Plane, routes

Side = Envoy | Proxy
MUTATION = "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
_ERRORS = ("update_rejected", "update_success", "config_reload", "config_fail")


def mutation(value: str) -> HeaderMutation:
    made = HeaderMutation()
    header = made.mutations.response_mutations.add().append.header
    header.key, header.value = "x-stamp", value
    return made


def stamp(value: str, name: str = "stamp") -> TypedExtensionConfig:
    made = TypedExtensionConfig(name=name)
    made.typed_config.Pack(mutation(value))
    return made


def wrong(name: str = "stamp") -> TypedExtensionConfig:
    """One of a type that the listener does not take."""
    made = TypedExtensionConfig(name=name)
    buffer = Buffer()
    buffer.max_request_bytes.value = 1
    made.typed_config.Pack(buffer)
    return made


def listener(
    name: str,
    port: int,
    *filters: str,
    default: str = "",
    at_once: bool = False,
    seconds: float = 0.0,
) -> Listener:
    """It answers 200 by itself, through filters that come over xDS."""
    made = Listener(name=name)
    made.address.socket_address.address, made.address.socket_address.port_value = "127.0.0.1", port
    manager = HttpConnectionManager(stat_prefix=name)
    if name == "l":
        manager.rds.route_config_name = "r"
        manager.rds.config_source.ads.SetInParent()
        manager.rds.config_source.resource_api_version = 2
    else:
        answers(manager.route_config)
    for each in filters:
        source = manager.http_filters.add(name=each).config_discovery
        source.config_source.ads.SetInParent()
        source.config_source.resource_api_version = 2
        if seconds:
            source.config_source.initial_fetch_timeout.FromMilliseconds(int(seconds * 1000))
        source.type_urls.append(MUTATION)
        if default:
            source.default_config.Pack(mutation(default))
        source.apply_default_config_without_warming = at_once
    manager.http_filters.add(name="router").typed_config.Pack(Router())
    made.filter_chains.add().filters.add(name="http").typed_config.Pack(manager)
    return made


def answers(made: Any) -> Any:
    made.CopyFrom(routes("r", "unused"))
    made.virtual_hosts[0].routes[0].direct_response.status = 200
    return made


def ask(port: int) -> tuple[int, str | None]:
    if not accepts("127.0.0.1", port):
        return 0, None
    answer = fetch(f"127.0.0.1:{port}", "/")
    return answer.status, answer.header("x-stamp")


def play(kind: type[Side], directory: Path, ports: list[int]) -> dict[str, Any]:
    plane = Plane()
    plane.start()
    seen: dict[str, Any] = {}

    def said(name: str, *lines: str) -> None:
        eventually(lambda: all(line in plane.trace for line in lines), what=f"{lines}: {plane.trace}")
        seen[name], plane.trace[:] = list(plane.trace), []

    first, second, third = ports
    plane.say("CDS")
    plane.say("LDS", listener("l", first, "stamp"))
    plane.say("RDS", answers(routes("r", "unused")))
    plane.say("ECDS", stamp("one"))
    try:
        with kind(bootstrap(f"127.0.0.1:{plane.port}", "GRPC"), directory) as side:
            side.wait_ready()
            said("start", "ECDS stamp v1 of ECDS1", "RDS r v1 of RDS1", "LDS * v1 of LDS1", "CDS * v1 of CDS1")
            seen["first"] = ask(first)
            plane.say("ECDS", stamp("two"))
            said("update", "ECDS stamp v2 of ECDS2")
            eventually(lambda: ask(first) == (200, "two"))
            plane.say("ECDS", wrong())
            said("another type", "ECDS stamp v2 of ECDS3 refused")
            seen["kept"] = ask(first)
            plane.say(
                "LDS", listener("l", first, "stamp"), listener("m", second, "late", default="default", at_once=True)
            )
            eventually(lambda: ask(second) == (200, "default"))
            said("one at once", "LDS * v2 of LDS2", "ECDS late,stamp v2 of ECDS3 refused")
            plane.say("ECDS", stamp("three"), stamp("late", "late"))
            eventually(lambda: ask(second) == (200, "late") and ask(first) == (200, "three"))
            said("two names", "ECDS late,stamp v4 of ECDS4")
            plane.say("ECDS", stamp("three"), stamp("late", "late"), wrong("refused"))
            plane.say(
                "LDS",
                listener("l", first, "stamp"),
                listener("m", second, "late", default="default", at_once=True),
                listener("n", third, "refused"),
            )
            eventually(lambda: ask(third)[0] != 0)
            seen["refused while warming"] = ask(third)
            said("refused", "LDS * v3 of LDS3", "ECDS late,refused,stamp v5 of ECDS5 refused")
            plane.say("ECDS", stamp("three"), stamp("late", "late"), stamp("taken", "refused"))
            eventually(lambda: ask(third) == (200, "taken"))
            dump = side.admin("/config_dump").json()["configs"]
            ecds = [each for each in dump if each["@type"].endswith("EcdsConfigDump")]
            # Envoy shows the version that changed a filter last, we the latest that held it.
            seen["dump"] = sorted(each["ecds_filter"]["name"] for config in ecds for each in config["ecds_filters"])
            stats = side.admin("/stats?filter=extension_config").text.splitlines()
            names = (line.partition(":")[0] for line in stats)
            # Envoy counts a response for every name in it and refuses it as a whole, so only names are compared.
            seen["stats"] = sorted(name for name in names if name.endswith(_ERRORS))
    finally:
        plane.stop()
    return seen


@pytest.mark.peer("envoy")
def test_filters_that_come_over_xds_are_envoys(tmp_path: Path) -> None:
    ports = [free_port() for _ in range(3)]
    expected = play(Envoy, tmp_path / "envoy", ports)
    found = play(Proxy, tmp_path / "isthmus", ports)
    for name, seen in expected.items():
        assert found[name] == seen, name
