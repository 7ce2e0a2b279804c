"""Compiles envoy.config.overload.v3.OverloadManager. Monitors that Envoy lacks are written as xds.type.v3.TypedStruct."""

from __future__ import annotations

from typing import Any, get_args

from isthmus_proxy.config.extensions import name_of, unpack_as
from isthmus_proxy.config.parse import duration_seconds, join, shown
from isthmus_proxy.config.values import positive_seconds, required
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.overload.model import (
    ACTION_PREFIX,
    ActionConfig,
    ActionName,
    MonitorConfig,
    OverloadConfig,
    Trigger,
)

_MONITORS = "envoy.extensions.resource_monitors"
_FIXED_HEAP = f"{_MONITORS}.fixed_heap.v3.FixedHeapConfig"
_CGROUP = f"{_MONITORS}.cgroup_memory.v3.CgroupMemoryConfig"
_INJECTED = f"{_MONITORS}.injected_resource.v3.InjectedResourceConfig"
_MAX_CONNECTIONS = f"{_MONITORS}.downstream_connections.v3.DownstreamConnectionsConfig"
_STRUCT = "xds.type.v3.TypedStruct"
DELAY = "isthmus.resource_monitors.v1.EventLoopDelay"
CONNECTIONS = "isthmus.resource_monitors.v1.DownstreamConnections"
_NAMES: tuple[ActionName, ...] = get_args(ActionName)


def compile_overload(proto: Any, path: str) -> OverloadConfig:
    """Compile a checked OverloadManager. Raises ConfigError."""
    monitors: list[MonitorConfig] = []
    limit: int | None = None
    for index, each in enumerate(proto.resource_monitors):
        place = f"{join(path, 'resource_monitors')}[{index}]"
        if name_of(each.typed_config.type_url) == _MAX_CONNECTIONS:
            limit = _max_connections(each, place)
            continue
        monitors.append(_monitor(each, place))
        if monitors[-1].name in [other.name for other in monitors[:-1]]:
            raise ConfigError(join(place, "name"), shown(each.name), "two monitors have this name")
    known = {monitor.name for monitor in monitors}
    actions = tuple(_action(each, f"{join(path, 'actions')}[{i}]", known) for i, each in enumerate(proto.actions))
    return OverloadConfig(positive_seconds(proto, "refresh_interval", 1.0, path), tuple(monitors), actions, limit)


def _max_connections(monitor: Any, path: str) -> int:
    place = join(path, "typed_config")
    config: Any = unpack_as(monitor.typed_config, place, _MAX_CONNECTIONS)
    return int(_positive(config.max_active_downstream_connections, join(place, "max_active_downstream_connections")))


def _monitor(monitor: Any, path: str) -> MonitorConfig:
    name = required(monitor, "name", path)
    place = join(path, "typed_config")
    config: Any = unpack_as(monitor.typed_config, place, _FIXED_HEAP, _CGROUP, _INJECTED, _STRUCT)
    kind = name_of(monitor.typed_config.type_url)
    if kind == _FIXED_HEAP:
        limit = _positive(config.max_heap_size_bytes, join(place, "max_heap_size_bytes"))
        return MonitorConfig(name, "fixed_heap", limit)
    if kind == _CGROUP:
        return MonitorConfig(name, "cgroup_memory", float(config.max_memory_bytes))
    if kind == _INJECTED:
        return MonitorConfig(name, "injected_resource", path=required(config, "filename", place))
    return _own(name, config, place)


def _own(name: str, struct: Any, path: str) -> MonitorConfig:
    kind = name_of(struct.type_url)
    fields = struct.value.fields
    wanted = {DELAY: "max_delay", CONNECTIONS: "max_active_downstream_connections"}.get(kind)
    if wanted is None:
        raise ConfigError(
            join(path, "type_url"), shown(struct.type_url), f"only {DELAY} and {CONNECTIONS} are supported"
        )
    place = join(path, f"value.{wanted}")
    for other in fields:
        if other != wanted:
            raise ConfigError(join(path, f"value.{other}"), "", f"is not a field of {kind}; it has {wanted}")
    if kind == DELAY:
        return MonitorConfig(
            name, "event_loop_delay", _positive(duration_seconds(fields[wanted].string_value, place), place)
        )
    return MonitorConfig(name, "connections", _positive(fields[wanted].number_value, place))


def _positive(value: float, path: str) -> float:
    if value <= 0:
        raise ConfigError(path, str(value), "is required and must be more than zero")
    return float(value)


def _action(action: Any, path: str, monitors: set[str]) -> ActionConfig:
    name = next((each for each in _NAMES if action.name == ACTION_PREFIX + each), None)
    if name is None:
        raise ConfigError(
            join(path, "name"),
            shown(action.name),
            "is not supported; supported are " + ", ".join(ACTION_PREFIX + n for n in _NAMES),
        )
    if not action.triggers:
        raise ConfigError(join(path, "triggers"), "", "needs at least one trigger")
    return ActionConfig(
        name,
        tuple(_trigger(each, f"{join(path, 'triggers')}[{i}]", monitors) for i, each in enumerate(action.triggers)),
    )


def _trigger(trigger: Any, path: str, monitors: set[str]) -> Trigger:
    if trigger.name not in monitors:
        raise ConfigError(
            join(path, "name"), shown(trigger.name), "there is no monitor of this name whose pressure is read"
        )
    kind = trigger.WhichOneof("trigger_oneof")
    if kind is None:
        raise ConfigError(path, "", "needs one of threshold and scaled")
    if kind == "threshold":
        value = trigger.threshold.value
        return Trigger(trigger.name, value, _share(value, join(path, "threshold.value")))
    place = join(path, kind)
    low = _share(trigger.scaled.scaling_threshold, join(place, "scaling_threshold"))
    high = _share(trigger.scaled.saturation_threshold, join(place, "saturation_threshold"))
    if low >= high:
        raise ConfigError(join(place, "scaling_threshold"), str(low), "must be less than saturation_threshold")
    return Trigger(trigger.name, low, high)


def _share(value: float, path: str) -> float:
    if not 0 <= value <= 1:
        raise ConfigError(path, str(value), "must be from 0 to 1")
    return float(value)
