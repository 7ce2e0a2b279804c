"""From a client's rejection back to what a user wrote: the object and the field, as well as the client's words tell. Pure.

Clients say where in a resource something is wrong (``VirtualHosts[0]... Routes[1]`` of Envoy's validation, ``virtual_hosts[0].routes[1]``
of gRPC and our proxy), or quote the value that they do not like. The first leads to the part of the object that became that part
of the resource, the second to the field that holds the value.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from google.protobuf.message import Message

from isthmus_controlplane.model.composed import keys_of, place_of
from isthmus_controlplane.model.policies import GATEWAY_KINDS
from isthmus_controlplane.stores.base import ConfigObject, ObjectKey
from isthmus_controlplane.translate.route_sources import RouteSource
from isthmus_controlplane.translate.translation import CLUSTER_TYPE, ENDPOINT_TYPE, ROUTE_TYPE

MIN_VALUE = 3  # shorter ones stand in messages by chance
_POSITION = re.compile(r"virtual_?hosts\[(\d+)\]", re.IGNORECASE)
_ROUTE = re.compile(r"(?<![a-z_])routes\[(\d+)\]", re.IGNORECASE)
_CLUSTER_NAME = re.compile(r"(?:out|in)bound\|(\d+)\|([^|\s]*)\|([^\s'\",:;]*)")
# What of a cluster comes from which part of a DestinationRule's traffic policy.
_POLICY_FIELDS = {
    "circuit_breakers": "connectionPool",
    "connect_timeout": "connectionPool.tcp.connectTimeout",
    "upstream_connection_options": "connectionPool.tcp",
    "typed_extension_protocol_options": "connectionPool.http",
    "outlier_detection": "outlierDetection",
    "lb_policy": "loadBalancer",
    "ring_hash_lb_config": "loadBalancer",
    "maglev_lb_config": "loadBalancer",
    "least_request_lb_config": "loadBalancer",
    "slow_start_config": "loadBalancer.warmup",
    "transport_socket": "tls",
}


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Cause:
    """What a rejected resource was made from.

    Attributes:
        key: the user's object.
        path: the field in it, as users write it; empty when the client's words do not tell.
    """

    key: ObjectKey
    path: str = ""

    def __str__(self) -> str:
        return f"{self.key} {self.path}".rstrip()


@dataclasses.dataclass(frozen=True, slots=True)
class Rejected:
    """What there is to go by.

    Attributes:
        type_url: type of the rejected resources.
        names: of those that may be meant.
        error: the client's words.
        messages: the resources by name.
        origins: the user objects that each was made from.
        objects: the objects in use.
        sources: says what became each route, by route configuration, host and port (`route_sources`).
        changed: number of the publication that changed an object last; a client that had accepted the ones before means
            what changed last. Empty where that is not known.
    """

    type_url: str
    names: tuple[str, ...]
    error: str
    messages: Mapping[str, Message]
    origins: Mapping[tuple[str, str], tuple[ObjectKey, ...]]
    objects: Mapping[ObjectKey, ConfigObject]
    sources: Callable[[str, str, int], Iterable[RouteSource]]
    changed: Mapping[ObjectKey, int] = dataclasses.field(default_factory=dict)


def causes(rejected: Rejected) -> tuple[Cause, ...]:
    """Return the fields that the client means, else those that hold what it quotes, else the objects, sorted.

    Where its words lead nowhere, the objects are those that changed last.
    """
    candidates = {key for name in rejected.names for key in rejected.origins.get((rejected.type_url, name), ())}
    by_place = _narrowed(rejected, set(_by_place(rejected)))
    if by_place:
        return tuple(sorted(by_place))
    by_value = set(_by_value(rejected, candidates))
    newest = max((rejected.changed.get(key, 0) for key in candidates), default=0)
    last = {Cause(key) for key in candidates if rejected.changed.get(key, 0) == newest}
    return tuple(sorted(by_value or _with_routes(rejected, last) or last))


def _with_routes(rejected: Rejected, found: set[Cause]) -> set[Cause]:
    """Leave out the Gateways of a route configuration: they give it host names, those bound to them all else."""
    if rejected.type_url != ROUTE_TYPE:
        return set()
    return {cause for cause in found if cause.key.kind not in GATEWAY_KINDS}


def _by_place(rejected: Rejected) -> Iterator[Cause]:
    for name in rejected.names:
        message = rejected.messages.get(name)
        if message is None:
            continue
        if rejected.type_url == ROUTE_TYPE:
            yield from _route_causes(rejected, message)
        elif rejected.type_url in {CLUSTER_TYPE, ENDPOINT_TYPE}:
            yield from _cluster_causes(rejected, name)


def _route_causes(rejected: Rejected, configuration: Any) -> Iterator[Cause]:
    """Follow ``virtual_hosts[i]`` and ``routes[j]`` to the match that became the route, else to the objects of the host."""
    at = _POSITION.search(rejected.error)
    if at is None or int(at[1]) >= len(configuration.virtual_hosts):
        return
    host, _, port = configuration.virtual_hosts[int(at[1])].name.rpartition(":")
    if not port.isdigit():
        return
    sources = list(rejected.sources(configuration.name, host, int(port)))
    route = _ROUTE.search(rejected.error, at.end())
    if route is not None and int(route[1]) < len(sources):
        place = place_of(*sources[int(route[1])])
        yield Cause(place.key, place.path)
    else:
        yield from (Cause(key) for obj, _ in sources for key in keys_of(obj))


def _cluster_causes(rejected: Rejected, name: str) -> Iterator[Cause]:
    """Follow a field of a cluster to the traffic policy that set it, and one of endpoints to the service's endpoints."""
    words = _snake(rejected.error)
    match = _CLUSTER_NAME.fullmatch(name)
    for key in rejected.origins.get((rejected.type_url, name), ()):
        obj = rejected.objects.get(key)
        if obj is None or match is None:
            continue
        if key.kind == "DestinationRule":
            for field, part in _POLICY_FIELDS.items():
                if re.search(rf"(?<![a-z_]){field}(?![a-z_])", words):
                    yield Cause(key, f"{_policy_path(obj.spec, match[2], int(match[1]), part)}.{part}")
        elif key.kind in {"ServiceEntry", "WorkloadEntry"} and re.search(r"(?<![a-z])(lb_)?endpoints?(?![a-z])", words):
            yield Cause(key, "spec.endpoints" if key.kind == "ServiceEntry" else "spec.address")


def _policy_path(spec: Any, subset: str, port: int, part: str) -> str:
    """Name the traffic policy that rules a part of a cluster: that of the port, of the subset, or of the whole."""
    field = _snake(part.partition(".")[0])
    for number, each in enumerate(spec.subsets):
        if each.name == subset:
            found = _policy(each.traffic_policy, f"spec.subsets[{number}].trafficPolicy", port, field)
            if found:
                return found
    return _policy(spec.traffic_policy, "spec.trafficPolicy", port, field) or "spec.trafficPolicy"


def _policy(policy: Any, path: str, port: int, field: str) -> str:
    for number, each in enumerate(policy.port_level_settings):
        if each.port.number == port:
            return f"{path}.portLevelSettings[{number}]"
    return path if field in policy.DESCRIPTOR.fields_by_name and policy.HasField(field) else ""


def _narrowed(rejected: Rejected, found: set[Cause]) -> set[Cause]:
    """Say more exactly which field of a part it is, where the client quotes the value of one."""
    exact: set[Cause] = set()
    for cause in found:
        inner = {each for each in _by_value(rejected, {cause.key}) if each.path.startswith(cause.path)}
        exact |= inner or {cause}
    return exact


def _by_value(rejected: Rejected, keys: Iterable[ObjectKey]) -> Iterator[Cause]:
    """Yield the fields that hold the longest value that the client quotes, else those of which it quotes the longest part."""
    text = _CLUSTER_NAME.sub(" ", rejected.error)
    for name in sorted(rejected.names, key=len, reverse=True):
        text = re.sub(rf"(?<![\w.]){re.escape(name)}(?![\w.])", " ", text)
    held = [
        (Cause(place.key, place.path), value)
        for key in keys
        if key in rejected.objects
        for path, value in _values(rejected.objects[key].spec, "spec")
        for place in (place_of(rejected.objects[key], path),)
    ]
    parts = _odd_words(text)
    yield from _longest((len(value), cause) for cause, value in held if _quotes(text, value)) or _longest(
        (len(part), cause) for cause, value in held for part in parts if part in value
    )


def _longest(found: Iterable[tuple[int, Cause]]) -> list[Cause]:
    ranked = list(found)
    longest = max((length for length, _ in ranked), default=0)
    return [cause for length, cause in ranked if length == longest]


def _odd_words(text: str) -> list[str]:
    """The words of a message that are no words of a language, such as the part of a pattern that it complains about."""
    words = (word.strip(".,:;()'\"`") for word in text.split())
    return [word for word in words if len(word) >= MIN_VALUE and not word.replace("_", "").replace("-", "").isalpha()]


def _quotes(text: str, value: str) -> bool:
    """Whether a message is about a value: it stands there in quotes, or it is too odd to stand there by chance."""
    if any(f"{mark}{value}{mark}" in text for mark in "'\"`"):
        return bool(value)
    odd = len(value) >= MIN_VALUE and not value.replace("_", "").isalnum()
    return odd and re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text) is not None


def _values(message: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of every text in an object, paths as users write them."""
    for field, value in message.ListFields():
        place = f"{path}.{field.json_name}"
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        if is_map:
            for key in sorted(value):
                yield from _value(value[key], f"{place}[{key}]")
                if isinstance(key, str):
                    yield f"{place}[{key}]", key
        elif isinstance(value, (str, Message)):
            yield from _value(value, place)
        elif not isinstance(value, (bytes, int, float)):
            for number, each in enumerate(value):
                yield from _value(each, f"{place}[{number}]")


def _value(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Message):
        yield from _values(value, path)


def _snake(text: str) -> str:
    """Write names as protobuf does: ``OutlierDetection`` as ``outlier_detection``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text).lower()
