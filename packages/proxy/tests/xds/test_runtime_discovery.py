"""Run-time layers over xDS: before everything else, taken over whole, refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.bootstrap.v3.bootstrap_pb2 import LayeredRuntime
from envoy.service.runtime.v3.rtds_pb2 import Runtime as RuntimeResource

from isthmus_proxy.config.parse import fill
from isthmus_proxy.config.runtime import compile_runtime, layer_values
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.runtime import Runtime
from isthmus_proxy.xds.resources import CLUSTER, RUNTIME
from isthmus_proxy.xds.runtime_discovery import RuntimeDiscovery
from isthmus_proxy.xds.session import Variant
from isthmus_proxy.xds.testing import Proxy, cluster

LAYERS = [
    {"name": "base", "static_layer": {"a": 1, "b": 1}},
    {"name": "one", "rtds_layer": {"name": "first", "rtds_config": {"ads": {}, "resource_api_version": "V3"}}},
    {"name": "two", "rtds_layer": {"name": "second", "rtds_config": {"ads": {}, "initial_fetch_timeout": "4s"}}},
    {"name": "admin", "admin_layer": {}},
]


class Side:
    def __init__(self, variant: Variant) -> None:
        proto = LayeredRuntime()
        fill(proto, {"layers": LAYERS})
        config = compile_runtime(proto)
        self.runtime = Runtime(config)
        self.proxy = Proxy(variant)
        discovery = RuntimeDiscovery(self.runtime, config.discovered, layer_values)
        self.proxy.discovery.start(self.proxy.cds, self.proxy.lds, (), (), discovery)
        self.proxy.discovery.connected()

    def send(self, version: str, **layers: dict[str, Any]) -> list[str]:
        messages = []
        for name, values in layers.items():
            message = RuntimeResource(name=name)
            message.layer.update(values)
            messages.append(message)
        return self.proxy.send(RUNTIME, version, *messages)


@pytest.fixture(params=["sotw", "delta"])
def side(request: pytest.FixtureRequest) -> Side:
    return Side(request.param)


def test_layers_come_first_and_all_of_them(side: Side) -> None:
    first = side.proxy.said()
    assert len(first) == 1
    assert "Runtime" in first[0] or "rtds" in first[0]
    said = side.send("1", first={"a": 2})
    assert not any("cds" in each or "Cluster" in each for each in said)
    assert not side.proxy.discovery.clusters_ready
    said = side.send("2", second={"b": {"c": True}, "f": {"numerator": 1, "denominator": "MILLION"}})
    assert any("cds" in each or "Cluster" in each for each in said)
    assert [side.runtime.get(key) for key in ("a", "b", "b.c", "f")] == [2, 1, True, (1, 1_000_000)]
    side.proxy.send(CLUSTER, "1", cluster("c"))


def test_the_admin_layer_is_above_and_others_in_order(side: Side) -> None:
    side.send("1", first={"a": 2, "x": "one"}, second={"a": 3})
    assert (side.runtime.get("a"), side.runtime.get("x")) == (3, "one")
    assert side.runtime.layers == ("base", "one", "two", "admin")
    assert side.runtime.entries()["a"] == (1, 2, 3, None)
    side.runtime.modify({"a": "4"})
    assert side.runtime.get("a") == 4
    side.send("2", first={"x": "two"}, second={})
    assert (side.runtime.entries()["a"], side.runtime.get("x")) == ((1, None, None, 4), "two")


def test_what_does_not_come_is_not_waited_for_forever(side: Side) -> None:
    side.send("1", first={"a": 2})
    said = side.proxy.wait(15.0)
    assert any("cds" in each or "Cluster" in each for each in said)
    assert side.proxy.stats.value("runtime.init_fetch_timeout") == 1
    side.send("2", second={"a": 9})
    assert side.runtime.get("a") == 9


def test_a_layer_that_would_be_ignored_is_refused_and_the_old_one_stays(side: Side) -> None:
    side.send("1", first={"a": 2}, second={})
    said = side.send("2", first={"a": 3, "overload": {"x": 1}})
    assert any("layer.overload.x" in each for each in said), said
    assert side.runtime.get("a") == 2
    assert side.proxy.stats.value("runtime.update_rejected") == 1


@pytest.mark.parametrize(
    ("layer", "place"),
    [
        ({"name": "x", "rtds_layer": {"rtds_config": {"ads": {}}}}, "rtds_layer.name"),
        ({"name": "x", "rtds_layer": {"name": "r"}}, "rtds_config"),
        ({"name": "x"}, r"layers\[0\]"),
    ],
)
def test_what_is_no_layer_is_refused(layer: dict[str, Any], place: str) -> None:
    proto = LayeredRuntime()
    fill(proto, {"layers": [layer]})
    with pytest.raises(ConfigError, match=place):
        compile_runtime(proto)
