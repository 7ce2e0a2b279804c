"""Syntax of host names, header names, regular expressions and durations in user objects."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

from isthmus_controlplane.model.fields import FieldProblem, shown

MAX_HOST = 253
MAX_REGEX = 1024
MAX_PORT = 65535
_LABEL = r"[A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# Substitution format commands that every supported proxy knows in header values.
FORMAT_COMMANDS = (
    "REQ", "DOWNSTREAM_REMOTE_ADDRESS", "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_PORT", "START_TIME", "PROTOCOL", "UPSTREAM_REMOTE_ADDRESS", "UPSTREAM_CLUSTER", "RESPONSE_CODE",
)  # fmt: skip
_COMMAND = re.compile(rf"%%|%(?:{'|'.join(FORMAT_COMMANDS)})(?:\([^()%]*\))?(?::\d+)?%")
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
# Python accepts these, RE2 (which proxies use) does not.
_NOT_RE2 = re.compile(r"\(\?(?:[=!#>]|<[=!]|P=|\()|\\[1-9]|[*+?}]\+")


def check_host(host: str, path: str, *, wildcard: bool = True) -> Iterator[FieldProblem]:
    """A host is a DNS name, perhaps with a first label ``*``."""
    if len(host) > MAX_HOST or not _HOST.fullmatch(host) or (host.startswith("*") and not wildcard):
        hint = "such as reviews.shop or *.example.com" if wildcard else "without wildcard, such as reviews.shop"
        yield FieldProblem(path, f"{shown(host)} is not a host name: write a DNS name {hint}")


def check_port(number: int, path: str) -> Iterator[FieldProblem]:
    """A TCP port."""
    if not 0 < number <= MAX_PORT:
        yield FieldProblem(path, f"{number} is not a port: use 1 to {MAX_PORT}")


def check_label_name(name: str, path: str) -> Iterator[FieldProblem]:
    """A name that becomes part of a cluster name or selects a port."""
    if not _NAME.fullmatch(name):
        yield FieldProblem(path, f"{shown(name)} is not a name: use letters, digits, '-', '_' and '.', at most 63")


def check_regex(pattern: str, path: str) -> Iterator[FieldProblem]:
    """A regular expression that RE2 takes."""
    if not pattern or len(pattern) > MAX_REGEX:
        yield FieldProblem(path, f"{shown(pattern)} must have 1 to {MAX_REGEX} characters")
        return
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        yield FieldProblem(path, f"{shown(pattern)} is not a regular expression: {error}")
        return
    if _NOT_RE2.search(pattern):
        message = "uses look-around, a back-reference or a possessive quantifier, which RE2 does not have: rewrite it"
        yield FieldProblem(path, f"{shown(pattern)} {message}")


def check_string_match(match: Any, path: str) -> Iterator[FieldProblem]:
    """A ``StringMatch`` must say how to match; a regular expression must be one."""
    match match.WhichOneof("match_type"):
        case None:
            yield FieldProblem(path, "is empty: give one of exact, prefix or regex")
        case "regex":
            yield from check_regex(match.regex, f"{path}.regex")
        case kind:
            if _CONTROL.search(getattr(match, kind)):
                yield FieldProblem(f"{path}.{kind}", f"{shown(getattr(match, kind))} has control characters")


def is_token(text: str) -> bool:
    """Whether ``text`` is a token of RFC 9110 section 5.6.2."""
    return _TOKEN.fullmatch(text) is not None


def check_header_name(name: str, path: str) -> Iterator[FieldProblem]:
    """A field name of RFC 9110 section 5.1; pseudo-headers cannot be set by the user."""
    if not _TOKEN.fullmatch(name):
        yield FieldProblem(path, f"{shown(name)} is not a header name")


def check_header_value(value: str, path: str) -> Iterator[FieldProblem]:
    """A field value without line breaks and other control characters (RFC 9110 section 5.5)."""
    if _CONTROL.search(value):
        yield FieldProblem(path, f"{shown(value)} has control characters, which a header cannot carry")


def check_header_format(value: str, path: str) -> Iterator[FieldProblem]:
    """A header value to add: may hold the proxy's format commands such as ``%REQ(name)%``; ``%%`` is a percent sign."""
    yield from check_header_value(value, path)
    rest = _COMMAND.sub("", value)
    if "%" in rest:
        names = ", ".join(FORMAT_COMMANDS)
        yield FieldProblem(
            path, f"{shown(value)} has a '%' that is no format command: write %% for it, or one of {names}"
        )


def check_substitution(pattern: str, substitution: str, path: str) -> Iterator[FieldProblem]:
    r"""A replacement text of RE2: ``\0`` to ``\9`` name groups that the pattern has, ``\\`` is a backslash."""
    yield from check_header_value(substitution, path)
    try:
        groups = re.compile(pattern).groups
    except (re.error, RecursionError, OverflowError):
        return
    for escape in re.findall(r"\\(.?)", substitution):
        if escape != "\\" and not (escape.isdecimal() and int(escape) <= groups):
            message = (
                f"{shown(substitution)} has \\{escape}, but the pattern has {groups} groups; write \\\\ for a backslash"
            )
            yield FieldProblem(path, message)


def check_duration(duration: Any, path: str, *, zero: bool) -> Iterator[FieldProblem]:
    """A duration of at least a millisecond, or zero where that means "none"."""
    milliseconds = duration.seconds * 1000 + duration.nanos / 1e6
    if milliseconds < 0 or (milliseconds < 1 and not (zero and milliseconds == 0)):
        yield FieldProblem(path, f"{duration.ToJsonString()} is too short: use at least 0.001s")


def check_percent(value: float, path: str) -> Iterator[FieldProblem]:
    """A percentage; what is smaller than a millionth of all cannot be told from nothing."""
    if value != 0 and not 0.0001 <= value <= 100:
        yield FieldProblem(path, f"{value} is not a percentage: use 0 or 0.0001 to 100")


def is_ip_address(text: str) -> bool:
    """Whether ``text`` is an IPv4 or IPv6 literal."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def check_export_to(export_to: Any, path: str = "spec.exportTo") -> Iterator[FieldProblem]:
    """``.``, ``*``, ``~`` or namespaces (networking.istio.io exportTo)."""
    for index, namespace in enumerate(export_to):
        if namespace not in {".", "*", "~"}:
            yield from check_label_name(namespace, f"{path}[{index}]")
