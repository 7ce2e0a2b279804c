"""Rules of traffic policies: load balancing, connection pools, outlier detection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_api.istio.networking.v1alpha3.destination_rule_pb2 import LoadBalancerSettings
from isthmus_controlplane.model.fields import FieldProblem, shown
from isthmus_controlplane.model.validate.client_tls import check_client_tls
from isthmus_controlplane.model.validate.locality import check_locality_setting
from isthmus_controlplane.model.validate.text import (
    check_duration,
    check_header_name,
    check_header_value,
    check_percent,
    check_port,
)

MAX_RING_SIZE = 8 * 1024 * 1024  # Cluster.RingHashLbConfig.maximum_ring_size, its default
MAX_TABLE_SIZE = 5_000_011  # Cluster.MaglevLbConfig.table_size
_WHOLE = 100  # per cent


def check_traffic_policy(policy: Any, path: str, outer: Any = None) -> Iterator[FieldProblem]:
    """Yield what is wrong with one TrafficPolicy; ``outer``: that of the rule, whose fields a subset takes over."""
    inherited = outer is not None and outer.HasField("outlier_detection")
    yield from _settings(policy, path, detects=inherited or policy.HasField("outlier_detection"))
    seen: set[int] = set()
    for index, setting in enumerate(policy.port_level_settings):
        below = f"{path}.portLevelSettings[{index}]"
        yield from check_port(setting.port.number, f"{below}.port.number")
        if setting.port.number in seen:
            yield FieldProblem(f"{below}.port.number", f"{setting.port.number} has two settings: keep one")
        seen.add(setting.port.number)
        yield from _settings(setting, below, detects=setting.HasField("outlier_detection"))


def _settings(policy: Any, path: str, *, detects: bool) -> Iterator[FieldProblem]:
    if policy.load_balancer.HasField("consistent_hash"):
        yield from _consistent_hash(policy.load_balancer.consistent_hash, f"{path}.loadBalancer.consistentHash")
    yield from _warmup(policy.load_balancer, f"{path}.loadBalancer")
    locality = policy.load_balancer.locality_lb_setting
    yield from check_locality_setting(locality, f"{path}.loadBalancer.localityLbSetting", detects=detects)
    yield from check_connection_pool(policy.connection_pool, f"{path}.connectionPool")
    yield from check_client_tls(policy.tls, f"{path}.tls")
    yield from _outlier_detection(policy.outlier_detection, f"{path}.outlierDetection")


def _warmup(settings: Any, path: str) -> Iterator[FieldProblem]:
    given = [field for field, _ in settings.ListFields() if field.name in {"warmup", "warmup_duration_secs"}]
    if len(given) > 1:
        yield FieldProblem(f"{path}.warmupDurationSecs", "cannot stand beside warmup: keep that one")
    for field in given:
        if settings.HasField("consistent_hash") or settings.simple == LoadBalancerSettings.RANDOM:
            message = "has an effect on ROUND_ROBIN and LEAST_REQUEST only: remove it"
            yield FieldProblem(f"{path}.{field.json_name}", message)
    yield from _duration(settings, "warmupDurationSecs", f"{path}.warmupDurationSecs", zero=False)
    if settings.HasField("warmup"):
        yield from check_duration(settings.warmup.duration, f"{path}.warmup.duration", zero=False)
        yield from check_percent(settings.warmup.minimum_percent.value, f"{path}.warmup.minimumPercent")


def _consistent_hash(settings: Any, path: str) -> Iterator[FieldProblem]:
    match settings.WhichOneof("hash_key"):
        case None:
            keys = "httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName"
            yield FieldProblem(path, f"does not say what is hashed: give one of {keys}")
        case "http_header_name":
            yield from check_header_name(settings.http_header_name, f"{path}.httpHeaderName")
        case "http_cookie":
            yield from _cookie(settings.http_cookie, f"{path}.httpCookie")
        case "use_source_ip" if not settings.use_source_ip:
            yield FieldProblem(f"{path}.useSourceIp", "False leaves nothing to hash: write true or give another key")
        case "http_query_parameter_name" if not settings.http_query_parameter_name:
            yield FieldProblem(f"{path}.httpQueryParameterName", "'' is not the name of a parameter")
    for size, below in (
        (settings.ring_hash.minimum_ring_size, f"{path}.ringHash.minimumRingSize"),
        (settings.minimum_ring_size, f"{path}.minimumRingSize"),
    ):
        if size > MAX_RING_SIZE:
            yield FieldProblem(below, f"{size} is too large: use at most {MAX_RING_SIZE}")
    if settings.maglev.table_size and not _is_table_size(settings.maglev.table_size):
        message = f"{settings.maglev.table_size} is not a prime of at most {MAX_TABLE_SIZE}"
        yield FieldProblem(f"{path}.maglev.tableSize", message)


def _is_table_size(size: int) -> bool:
    return 1 < size <= MAX_TABLE_SIZE and all(size % factor for factor in range(2, int(size**0.5) + 1))


def _cookie(cookie: Any, path: str) -> Iterator[FieldProblem]:
    yield from check_header_name(cookie.name, f"{path}.name")  # a cookie's name is a token too (RFC 6265 section 4.1.1)
    yield from _cookie_text(cookie.path, f"{path}.path")
    if cookie.HasField("ttl"):
        yield from check_duration(cookie.ttl, f"{path}.ttl", zero=True)
    for index, attribute in enumerate(cookie.attributes):
        below = f"{path}.attributes[{index}]"
        yield from check_header_name(attribute.name, f"{below}.name")
        yield from _cookie_text(attribute.value, f"{below}.value")


def _cookie_text(text: str, path: str) -> Iterator[FieldProblem]:
    yield from check_header_value(text, path)
    if ";" in text:
        yield FieldProblem(path, f"{shown(text)} has a ';', which ends an attribute of a cookie: remove it")


def check_connection_pool(pool: Any, path: str) -> Iterator[FieldProblem]:
    """Yield what is wrong with one ConnectionPoolSettings."""
    yield from _duration(pool.tcp, "connectTimeout", f"{path}.tcp.connectTimeout", zero=False)
    for side in ("tcp", "http"):
        yield from _duration(getattr(pool, side), "idleTimeout", f"{path}.{side}.idleTimeout", zero=True)
        for field, value in getattr(pool, side).ListFields():
            if field.cpp_type == field.CPPTYPE_INT32 and value < 0:
                below = f"{path}.{side}.{field.json_name}"
                yield FieldProblem(below, f"{value} is negative: use 1 or more, or 0 for no limit")


def _outlier_detection(settings: Any, path: str) -> Iterator[FieldProblem]:
    for name in ("interval", "baseEjectionTime"):
        yield from _duration(settings, name, f"{path}.{name}", zero=False)
    for name, value in (
        ("maxEjectionPercent", settings.max_ejection_percent),
        ("minHealthPercent", settings.min_health_percent),
    ):
        if not 0 <= value <= _WHOLE:
            yield FieldProblem(f"{path}.{name}", f"{value} is not a percentage: use 0 to {_WHOLE}")
    if settings.consecutive_local_origin_failures.value and not settings.split_external_local_origin_errors:
        message = "has no effect without splitExternalLocalOriginErrors: add that or remove this"
        yield FieldProblem(f"{path}.consecutiveLocalOriginFailures", message)


def _duration(message: Any, name: str, path: str, *, zero: bool) -> Iterator[FieldProblem]:
    field = next(each for each in message.DESCRIPTOR.fields if each.json_name == name)
    if message.HasField(field.name):
        yield from check_duration(getattr(message, field.name), path, zero=zero)
