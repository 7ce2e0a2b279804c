"""Compiles header_key_format (core.v3.Http1ProtocolOptions.HeaderKeyFormat)."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.codec.http1.spelling import PRESERVE_CASE, PRESERVE_OR_PROPER_CASE, PROPER_CASE
from isthmus_proxy.config.extensions import unpack_as
from isthmus_proxy.config.parse import join
from isthmus_proxy.config.values import enum_name
from isthmus_proxy.errors import ConfigError

_PRESERVE = "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"


def compile_header_key_format(http1: Any, path: str) -> str:
    """The format that an Http1ProtocolOptions asks for, by its name in ``codec.http1.spelling``. Raises ConfigError."""
    if not http1.HasField("header_key_format"):
        return ""
    path = join(path, "header_key_format")
    chosen = http1.header_key_format.WhichOneof("header_format")
    if chosen is None:
        raise ConfigError(path, "", "needs one of proper_case_words and stateful_formatter")
    if chosen == "proper_case_words":
        return PROPER_CASE
    place = join(path, "stateful_formatter.typed_config")
    config: Any = unpack_as(http1.header_key_format.stateful_formatter.typed_config, place, _PRESERVE)
    proper = enum_name(config, "formatter_type_on_envoy_headers") == "PROPER_CASE"
    return PRESERVE_OR_PROPER_CASE if proper else PRESERVE_CASE
