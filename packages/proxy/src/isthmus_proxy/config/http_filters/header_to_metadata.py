"""Compiles envoy.extensions.filters.http.header_to_metadata.v3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.route_match import compile_regex_rewrite
from isthmus_proxy.config.values import enum_name, required
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.filters.header_to_metadata import (
    DEFAULT_NAMESPACE,
    HeaderToMetadataConfig,
    KeyValue,
    Rule,
)
from isthmus_proxy.route.model import RegexRewrite
from isthmus_proxy.route.regex import substitute


def compile_header_to_metadata(proto: Any, path: str) -> HeaderToMetadataConfig:
    """Compile the message of the filter or of a route. Raises ConfigError."""
    if not proto.request_rules and not proto.response_rules:
        raise ConfigError(path, "", "needs request_rules or response_rules")
    return HeaderToMetadataConfig(
        _rules(proto.request_rules, join(path, "request_rules")),
        _rules(proto.response_rules, join(path, "response_rules")),
    )


def _rules(rules: Any, path: str) -> tuple[Rule, ...]:
    return tuple(_rule(each, f"{path}[{index}]") for index, each in enumerate(rules))


def _rule(proto: Any, path: str) -> Rule:
    if bool(proto.header) == bool(proto.cookie):
        raise ConfigError(path, "", "needs one of header and cookie")
    if proto.remove and (proto.cookie or proto.header.startswith(":") or proto.header.lower() == "host"):
        raise ConfigError(join(path, "remove"), "true", "only a header can be removed that is no part of the target")
    present, missing = proto.HasField("on_header_present"), proto.HasField("on_header_missing")
    if not present and not missing:
        raise ConfigError(path, "", "needs on_header_present or on_header_missing")
    if missing and not proto.on_header_missing.value:
        raise ConfigError(join(path, "on_header_missing.value"), "", "is required and must not be empty")
    return Rule(
        proto.header.lower().encode("latin-1", "replace"),
        proto.cookie.encode(),
        _pair(proto.on_header_present, join(path, "on_header_present")) if present else None,
        _pair(proto.on_header_missing, join(path, "on_header_missing")) if missing else None,
        proto.remove,
    )


def _pair(proto: Any, path: str) -> KeyValue:
    kind = enum_name(proto, "type")
    if kind == "PROTOBUF_VALUE":
        raise ConfigError(join(path, "type"), shown(kind), "is not supported; use STRING or NUMBER")
    rewrite: Callable[[bytes], bytes] | None = None
    if proto.HasField("regex_value_rewrite"):
        if proto.value:
            raise ConfigError(join(path, "value"), shown(proto.value), "does not go with regex_value_rewrite")
        rewrite = _rewrite(compile_regex_rewrite(proto.regex_value_rewrite, join(path, "regex_value_rewrite")))
    return KeyValue(
        proto.metadata_namespace or DEFAULT_NAMESPACE,
        required(proto, "key", path),
        proto.value.encode(),
        rewrite,
        number=kind == "NUMBER",
        base64=enum_name(proto, "encode") == "BASE64",
    )


def _rewrite(regex: RegexRewrite) -> Callable[[bytes], bytes]:
    return lambda value: substitute(regex.pattern, regex.substitution, value)
