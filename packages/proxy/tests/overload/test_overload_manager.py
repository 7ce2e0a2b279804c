"""The overload manager: pressures become actions, and what cannot be read stays as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from envoy.config.overload.v3.overload_pb2 import OverloadManager as OverloadManagerProto
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.config.check import check
from isthmus_proxy.config.overload import compile_overload
from isthmus_proxy.config.parse import fill
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.overload.model import AT_EASE, MonitorConfig, OverloadConfig, OverloadState, Trigger
from isthmus_proxy.overload.monitors import CgroupMemory, Connections, Injected, ResidentMemory, make_monitor
from isthmus_proxy.overload.overload_manager import OverloadManager, shared_out
from isthmus_proxy.reactor.reactor import Reactor

TYPE = "type.googleapis.com/envoy.extensions.resource_monitors."
OWN = "type.googleapis.com/isthmus.resource_monitors.v1."
Json = dict[str, Any]


def monitor(name: str, kind: str, **fields: object) -> Json:
    return {"name": name, "typed_config": {"@type": TYPE + kind, **fields}}


def own(name: str, kind: str, **fields: object) -> Json:
    struct = {"@type": "type.googleapis.com/xds.type.v3.TypedStruct", "type_url": OWN + kind, "value": fields}
    return {"name": name, "typed_config": struct}


HEAP = monitor("heap", "fixed_heap.v3.FixedHeapConfig", max_heap_size_bytes=1000)


def action(name: str, **trigger: object) -> Json:
    return {"name": f"envoy.overload_actions.{name}", "triggers": [{"name": "heap", **trigger}]}


def compiled(*actions: Json, monitors: tuple[Json, ...] = (HEAP,), **fields: object) -> OverloadConfig:
    proto = OverloadManagerProto()
    fill(proto, {"resource_monitors": list(monitors), "actions": list(actions), **fields}, "overload_manager")
    check(proto, "overload_manager")
    return compile_overload(proto, "overload_manager")


def test_what_a_file_says() -> None:
    config = compiled(
        action("disable_http_keepalive", scaled={"scaling_threshold": 0.5, "saturation_threshold": 0.75}),
        action("stop_accepting_requests", threshold={"value": 0.9}),
        monitors=(
            HEAP,
            monitor("group", "cgroup_memory.v3.CgroupMemoryConfig"),
            monitor("file", "injected_resource.v3.InjectedResourceConfig", filename="/x"),
            monitor(
                "limit", "downstream_connections.v3.DownstreamConnectionsConfig", max_active_downstream_connections=9
            ),
            own("delay", "EventLoopDelay", max_delay="0.25s"),
            own("connections", "DownstreamConnections", max_active_downstream_connections=100),
        ),
        refresh_interval="0.5s",
    )
    assert config.refresh_interval == 0.5
    assert config.max_connections == 9
    assert config.monitors == (
        MonitorConfig("heap", "fixed_heap", 1000.0),
        MonitorConfig("group", "cgroup_memory"),
        MonitorConfig("file", "injected_resource", path="/x"),
        MonitorConfig("delay", "event_loop_delay", 0.25),
        MonitorConfig("connections", "connections", 100.0),
    )
    assert [each.triggers for each in config.actions] == [
        (Trigger("heap", 0.5, 0.75),),
        (Trigger("heap", 0.9, 0.9),),
    ]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"monitors": (HEAP, HEAP)}, r"resource_monitors\[1\].name"),
        ({"monitors": (monitor("h", "fixed_heap.v3.FixedHeapConfig"),)}, "max_heap_size_bytes"),
        ({"monitors": (monitor("h", "injected_resource.v3.InjectedResourceConfig"),)}, "filename"),
        ({"monitors": (own("d", "EventLoopDelay", max_delay="soon"),)}, "value.max_delay"),
        ({"monitors": (own("d", "EventLoopDelay", max_delay="1s", more=1),)}, "value.more"),
        ({"monitors": (own("d", "DownstreamConnections"),)}, "max_active_downstream_connections"),
        ({"monitors": (own("d", "Unknown"),)}, "type_url"),
        ({"refresh_interval": "0s"}, "refresh_interval"),
    ],
)
def test_what_is_refused_of_monitors(fields: Json, path: str) -> None:
    with pytest.raises(ConfigError, match=path):
        compiled(**fields)


@pytest.mark.parametrize(
    ("what", "path"),
    [
        (action("reduce_timeouts", threshold={"value": 0.5}), r"actions\[0\].name.*is not supported"),
        (action("shrink_heap"), r"triggers\[0\]"),
        (action("shrink_heap", threshold={"value": 1.5}), "threshold.value"),
        (action("shrink_heap", scaled={"scaling_threshold": 0.8, "saturation_threshold": 0.8}), "scaling_threshold"),
        ({"name": "envoy.overload_actions.shrink_heap"}, r"actions\[0\].triggers"),
        (
            {"name": "envoy.overload_actions.shrink_heap", "triggers": [{"name": "x", "threshold": {"value": 1}}]},
            r"triggers\[0\].name",
        ),
    ],
)
def test_what_is_refused_of_actions(what: Json, path: str) -> None:
    with pytest.raises(ConfigError, match=path):
        compiled(what)


@given(st.floats(0, 2), st.floats(0, 2))
def test_a_trigger_never_falls_as_the_pressure_rises(one: float, other: float) -> None:
    trigger = Trigger("m", 0.5, 0.9)
    low, high = sorted((one, other))
    assert 0 <= trigger.value(low) <= trigger.value(high) <= 1
    assert trigger.value(0.5) == 0
    assert trigger.value(0.9) == 1
    assert trigger.value(0.7) == pytest.approx(0.5)
    assert Trigger("m", 0.9, 0.9).value(0.9) == 1


class Dial:
    """A monitor that reads what the test says; None cannot be read."""

    def __init__(self) -> None:
        self.value: float | None = 0.0

    def pressure(self) -> float:
        if self.value is None:
            raise ValueError("no reading")
        return self.value


class Recorder:
    def __init__(self) -> None:
        self.states: list[OverloadState] = []

    def shed(self, state: OverloadState) -> None:
        self.states.append(state)


ACTIONS = (
    action("disable_http_keepalive", scaled={"scaling_threshold": 0.5, "saturation_threshold": 0.75}),
    action("stop_accepting_connections", threshold={"value": 0.8}),
    action("reject_incoming_connections", threshold={"value": 0.85}),
    action("stop_accepting_requests", threshold={"value": 0.9}),
    action("shrink_heap", threshold={"value": 0.6}),
)


def test_pressure_becomes_action_and_back() -> None:
    async def main() -> None:
        dial, shedder, store, relieved = Dial(), Recorder(), StatsStore(), []
        manager = OverloadManager(
            compiled(*ACTIONS), Reactor(), store, shedder, lambda _: dial, lambda: relieved.append(1)
        )
        for value in (0.4, 0.625, 0.8, 0.85, 0.95, 0.95, None, 0.1):
            dial.value = value
            manager.refresh()
        everything = OverloadState(1.0, 1.0, 1.0, accepting=False)
        assert shedder.states == [
            OverloadState(end_keepalive=0.5),
            OverloadState(end_keepalive=1.0, accepting=False),
            OverloadState(end_keepalive=1.0, reject_connections=1.0, accepting=False),
            everything,
            AT_EASE,
        ]
        assert len(relieved) == 6
        assert store.value("overload.heap.failed_updates") == 1
        assert store.value("overload.heap.pressure") == 10
        assert store.value("overload.envoy.overload_actions.stop_accepting_requests.active") == 0
        dial.value = 0.625
        manager.refresh()
        assert store.value("overload.envoy.overload_actions.disable_http_keepalive.scale_percent") == 50

    trio.run(main)


def test_monitors_read_the_system(tmp_path: Path) -> None:
    assert 0 < ResidentMemory(1 << 50).pressure() < 1 < ResidentMemory(1000).pressure()
    assert Connections(10, lambda: 5).pressure() == 0.5
    file = tmp_path / "pressure"
    for text, error in (("1.5", ValueError), ("x", ValueError)):
        file.write_text(text)
        with pytest.raises(error):
            Injected(str(file)).pressure()
    file.write_text("0.25\n")
    assert Injected(str(file)).pressure() == 0.25


def test_a_control_group_with_and_without_a_limit(tmp_path: Path) -> None:
    usage, maximum = tmp_path / "usage", tmp_path / "max"
    files = ((tmp_path / "absent", maximum), (usage, maximum))
    usage.write_text("600\n")
    maximum.write_text("max\n")
    assert CgroupMemory(0, files).pressure() == 0
    assert CgroupMemory(1200, files).pressure() == 0.5
    maximum.write_text("1000")
    assert CgroupMemory(0, files).pressure() == 0.6
    assert CgroupMemory(1200, files).pressure() == 0.6
    with pytest.raises(OSError, match="no memory control group"):
        CgroupMemory(0, files[:1]).pressure()


def test_the_delay_of_the_event_loop_is_the_worst_since_the_last_reading() -> None:
    now = 100.0

    async def main() -> None:
        nonlocal now
        reactor = Reactor(lambda: now)
        delay = make_monitor(MonitorConfig("d", "event_loop_delay", 0.5), reactor, lambda: 0)
        for step in (0.02, 0.27, 0.02):
            now += step
            reactor.serve()
        assert delay.pressure() == pytest.approx(0.5)
        assert delay.pressure() == 0

    trio.run(main)


def test_workers_share_memory_and_connections() -> None:
    monitors = (MonitorConfig("m", "fixed_heap", 100.0), MonitorConfig("d", "event_loop_delay", 0.5))
    config = shared_out(OverloadConfig(monitors=monitors, max_connections=9), 4)
    assert [each.limit for each in config.monitors] == [25.0, 0.5]
    assert config.max_connections == 2
    assert shared_out(OverloadConfig(), 4).max_connections is None
