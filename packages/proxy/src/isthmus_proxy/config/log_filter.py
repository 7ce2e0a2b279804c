"""Compiles config.accesslog.v3.AccessLogFilter, which access logs and local reply mappers share, into predicates."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.route_match import compile_header_match
from isthmus_proxy.config.values import enum_name, required
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.local_reply import grpc_status
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.route.matcher import conditions
from isthmus_proxy.route.model import RouteMatch, StringMatch
from isthmus_proxy.trace.sampling import Reason, reason_of

Predicate = Callable[[StreamInfo], bool]

_DENOMINATORS = (100, 10_000, 1_000_000)  # type.v3.FractionalPercent.DenominatorType
_FLAGS = frozenset(
    [
        "LH",
        "UH",
        "UT",
        "LR",
        "UR",
        "UF",
        "UC",
        "UO",
        "NR",
        "DI",
        "FI",
        "RL",
        "UAEX",
        "RLSE",
        "DC",
        "URX",
        "SI",
        "IH",
        "DPE",
        "UMSDR",
        "RFCF",
        "NFCF",
        "DT",
        "UPE",
        "NC",
        "OM",
        "DF",
        "DO",
        "DR",
        "UDO",
    ]
)


def compile_log_filter(proto: Any, path: str) -> Predicate:
    """Compile a checked filter. Raises ConfigError."""
    chosen = proto.WhichOneof("filter_specifier")
    if chosen not in _COMPILERS:
        raise ConfigError(path, "", "needs one of " + ", ".join(map(str, _COMPILERS)))
    return _COMPILERS[chosen](getattr(proto, chosen), join(path, chosen))


def _comparison(proto: Any, path: str, read: Callable[[StreamInfo], int]) -> Predicate:
    required(proto.comparison.value, "runtime_key", join(path, "comparison.value"))
    mark = int(proto.comparison.value.default_value)
    op = enum_name(proto.comparison, "op")
    if op == "EQ":
        return lambda info: read(info) == mark
    if op == "GE":
        return lambda info: read(info) >= mark
    return (lambda info: read(info) <= mark) if op == "LE" else (lambda info: read(info) != mark)


def _status(proto: Any, path: str) -> Predicate:
    return _comparison(proto, path, lambda info: info.status)


def _duration(proto: Any, path: str) -> Predicate:
    return _comparison(proto, path, lambda info: int(((info.ended_at or info.started_at) - info.started_at) * 1000.0))


def _all_of(proto: Any, path: str) -> Predicate:
    parts = _parts(proto, path)
    return lambda info: all(part(info) for part in parts)


def _any_of(proto: Any, path: str) -> Predicate:
    parts = _parts(proto, path)
    return lambda info: any(part(info) for part in parts)


def _parts(proto: Any, path: str) -> list[Predicate]:
    if len(proto.filters) < 2:
        raise ConfigError(join(path, "filters"), f"{len(proto.filters)} filters", "needs at least two")
    return [compile_log_filter(each, f"{join(path, 'filters')}[{i}]") for i, each in enumerate(proto.filters)]


def _header(proto: Any, path: str) -> Predicate:
    header = compile_header_match(proto.header, join(path, "header"))
    (holds,) = conditions(RouteMatch(StringMatch("prefix", b""), headers=(header,)))
    return lambda info: info.request is not None and holds(info.request)


def _flag(proto: Any, path: str) -> Predicate:
    flags = frozenset(proto.flags)
    if unknown := flags - _FLAGS:
        raise ConfigError(join(path, "flags"), shown(min(unknown)), "is not a response flag")
    if not flags:
        return lambda info: bool(info.flags)
    return lambda info: not flags.isdisjoint(info.flags)


def _grpc(proto: Any, _path: str) -> Predicate:
    codes = frozenset(int(status) for status in proto.statuses)
    exclude = bool(proto.exclude)
    return lambda info: (_grpc_code(info) in codes) != exclude


def _grpc_code(info: StreamInfo) -> int:
    """grpc-status of the response, else the one that stands for its HTTP status."""
    said = info.response.get(b"grpc-status") if info.response is not None else None
    return int(said) if said is not None and said.isdigit() and len(said) <= 4 else grpc_status(info.status)


def _fraction(proto: Any, path: str) -> Predicate:
    required(proto, "runtime_key", path)
    numerator, denominator = int(proto.percent_sampled.numerator), _DENOMINATORS[proto.percent_sampled.denominator]
    if proto.use_independent_randomness:
        return lambda info: random.random() * denominator < numerator
    return lambda info: _sample(info) % denominator < numerator


def _sample(info: StreamInfo) -> int:
    """The same number for all logs of a request: the beginning of its identifier."""
    try:
        return int((info.request_id or b"")[:8], 16)
    except ValueError:
        return random.getrandbits(32)


def _type(proto: Any, _path: str) -> Predicate:
    names = {proto.DESCRIPTOR.fields_by_name["types"].enum_type.values_by_number[each].name for each in proto.types}
    logged = ("DownstreamEnd" in names) != bool(proto.exclude)
    return lambda info: logged


def _not_health_check(_proto: Any, _path: str) -> Predicate:
    """Requests that no health check filter took for its own."""
    return lambda info: not info.health_check


def _traceable(_proto: Any, _path: str) -> Predicate:
    """Requests that are traced: their x-request-id says so."""
    return lambda info: info.span is not None and reason_of(info.request_id or b"") is not Reason.NOT_TRACEABLE


_COMPILERS: dict[str | None, Callable[[Any, str], Predicate]] = {
    "status_code_filter": _status,
    "duration_filter": _duration,
    "not_health_check_filter": _not_health_check,
    "traceable_filter": _traceable,
    "runtime_filter": _fraction,
    "and_filter": _all_of,
    "or_filter": _any_of,
    "header_filter": _header,
    "response_flag_filter": _flag,
    "grpc_status_filter": _grpc,
    "log_type_filter": _type,
}
