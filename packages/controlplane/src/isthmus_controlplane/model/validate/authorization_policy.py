"""Rules of AuthorizationPolicy."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

from isthmus_controlplane.model.condition import KEYS, attribute
from isthmus_controlplane.model.fields import FieldProblem, shown
from isthmus_controlplane.model.validate.text import MAX_PORT, check_header_name, check_header_value

_ADDRESSES = frozenset({"ip_blocks", "not_ip_blocks", "remote_ip_blocks", "not_remote_ip_blocks"})
_ADDRESS_KEYS = frozenset({"source.ip", "remote.ip", "destination.ip"})
_ACCOUNTS = frozenset({"service_accounts", "not_service_accounts"})
_PORTS = frozenset({"ports", "not_ports"})
_PATHS = frozenset({"paths", "not_paths"})
_TEMPLATE = re.compile(r"\{\*\*?\}")


def validate_authorization_policy(spec: Any) -> Iterator[FieldProblem]:
    """Yield what is wrong with an AuthorizationPolicy."""
    for index, rule in enumerate(spec.rules):
        path = f"spec.rules[{index}]"
        for position, each in enumerate(getattr(rule, "from")):
            yield from _fields(each.source, f"{path}.from[{position}].source", "at least one property of the source")
        for position, each in enumerate(rule.to):
            yield from _fields(each.operation, f"{path}.to[{position}].operation", "hosts, ports, methods or paths")
        for position, condition in enumerate(rule.when):
            yield from _condition(condition, f"{path}.when[{position}]")


def _fields(message: Any, path: str, wanted: str) -> Iterator[FieldProblem]:
    given = message.ListFields()
    if not given:
        yield FieldProblem(path, f"is empty: give {wanted}")
    for field, values in given:
        for index, value in enumerate(values):
            yield from _value(field.name, value, f"{path}.{field.json_name}[{index}]")


def _value(name: str, value: str, path: str) -> Iterator[FieldProblem]:
    if not value:
        yield FieldProblem(path, "'' matches nothing: remove it")
    elif name in _ADDRESSES:
        yield from _block(value, path)
    elif name in _PORTS:
        yield from _port(value, path)
    elif name in _PATHS and "{" in value:
        yield from _template(value, path)
    elif name in _ACCOUNTS and (value.count("/") > 1 or "*" in value):
        yield FieldProblem(path, f"{shown(value)} is not an account: write NAMESPACE/NAME or NAME, without wildcards")
    else:
        yield from check_header_value(value, path)


def _block(value: str, path: str) -> Iterator[FieldProblem]:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        yield FieldProblem(path, f"{shown(value)} is not an address or a range such as 10.0.0.0/8")


def _port(value: str, path: str) -> Iterator[FieldProblem]:
    if not (value.isascii() and value.isdigit() and len(value) <= 5 and 0 < int(value) <= MAX_PORT):
        yield FieldProblem(path, f"{shown(value)} is not a port: use 1 to {MAX_PORT}")


def _template(value: str, path: str) -> Iterator[FieldProblem]:
    """``{*}`` stands for one segment, ``{**}`` for any number of them, at most once and at the end of the path's pattern."""
    segments = value.split("/")
    odd = [each for each in segments[1:] if "{" in each and not _TEMPLATE.fullmatch(each)]
    if not value.startswith("/") or odd or "*" in _TEMPLATE.sub("", value) or value.count("{**}") > 1:
        yield FieldProblem(
            path, f"{shown(value)} is not a template: use {{*}} and at most one {{**}} as whole segments"
        )


def _condition(condition: Any, path: str) -> Iterator[FieldProblem]:
    found = attribute(condition.key)
    if found is None:
        yield FieldProblem(f"{path}.key", f"{shown(condition.key)} is not supported: use one of {', '.join(KEYS)}")
        return
    if not condition.values and not condition.not_values:
        yield FieldProblem(path, "compares with nothing: give values or notValues")
    if found.family == "request.headers":
        yield from check_header_name(found.names[0].removeprefix(":"), f"{path}.key")
    for name, values in (("values", condition.values), ("notValues", condition.not_values)):
        for index, value in enumerate(values):
            below = f"{path}.{name}[{index}]"
            if found.family in _ADDRESS_KEYS:
                yield from _block(value, below)
            elif found.family == "destination.port":
                yield from _port(value, below)
            else:
                yield from _value(found.family, value, below)
