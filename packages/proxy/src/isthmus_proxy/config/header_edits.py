"""Compiles header mutations: the four lists that weighted clusters, routes, virtual hosts and route configurations have."""

from __future__ import annotations

import re
from typing import Any, cast

from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.values import enum_name
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.observe.formatter import compile_text
from isthmus_proxy.route.model import AppendAction, HeaderEdit, HeaderEdits

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)  # RFC 9110, section 5.6.2
_BAD_VALUE = re.compile(r"[\x00\r\n]")


def compile_request_edits(message: Any, path: str) -> HeaderEdits:
    """Compile ``request_headers_to_add`` and ``request_headers_to_remove``."""
    return _compile(message, "request", path)


def compile_response_edits(message: Any, path: str) -> HeaderEdits:
    """Compile ``response_headers_to_add`` and ``response_headers_to_remove``."""
    return _compile(message, "response", path)


def compile_added_headers(options: Any, path: str) -> HeaderEdits:
    """Compile a list of HeaderValueOption."""
    return HeaderEdits(tuple(_edit(option, f"{path}[{i}]") for i, option in enumerate(options)))


def _compile(message: Any, side: str, path: str) -> HeaderEdits:
    add, remove = f"{side}_headers_to_add", f"{side}_headers_to_remove"
    return HeaderEdits(
        tuple(_edit(option, f"{join(path, add)}[{i}]") for i, option in enumerate(getattr(message, add))),
        tuple(_name(name, f"{join(path, remove)}[{i}]") for i, name in enumerate(getattr(message, remove))),
    )


def _edit(option: Any, path: str) -> HeaderEdit:
    header = option.header
    name = _name(header.key, join(path, "header.key"))
    text = header.value
    if _BAD_VALUE.search(text):
        raise ConfigError(join(path, "header.value"), shown(text), "must not hold line ends or NUL")
    render = compile_text(text, omit_empty=True, path=join(path, "header.value"))
    action = enum_name(option, "append_action")
    if option.HasField("append"):
        action = "APPEND_IF_EXISTS_OR_ADD" if option.append.value else "OVERWRITE_IF_EXISTS_OR_ADD"
    constant = "%" not in text
    return HeaderEdit(
        name,
        text.encode(),
        cast("AppendAction", action),
        option.keep_empty_value,
        None if constant else render,
    )


def _name(name: str, path: str) -> bytes:
    lowered = name.lower()
    if lowered.startswith(":") or lowered == "host":
        raise ConfigError(path, shown(name), "pseudo-headers and host may not be modified; use host_rewrite_literal")
    if not _TOKEN.fullmatch(name):
        raise ConfigError(path, shown(name), "is not a header name")
    return lowered.encode()
