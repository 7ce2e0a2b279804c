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
        tuple(header_name(name, f"{join(path, remove)}[{i}]") for i, name in enumerate(getattr(message, remove))),
    )


def compile_mutations(mutations: Any, path: str) -> HeaderEdits:
    """Compile a list of config.common.mutation_rules.v3.HeaderMutation that only remove and append."""
    edits = [compile_mutation(mutation, f"{path}[{index}]") for index, mutation in enumerate(mutations)]
    return HeaderEdits(
        tuple(edit for each in edits for edit in each.add), tuple(name for each in edits for name in each.remove)
    )


def compile_mutation(mutation: Any, path: str) -> HeaderEdits:
    """Compile one config.common.mutation_rules.v3.HeaderMutation that removes or appends."""
    chosen = mutation.WhichOneof("action")
    if chosen == "append":
        return HeaderEdits(add=(_edit(mutation.append, join(path, chosen)),))
    if chosen == "remove":
        return HeaderEdits(remove=(header_name(mutation.remove, join(path, chosen)),))
    raise ConfigError(path, shown(chosen or ""), "only append and remove are supported")


def _edit(option: Any, path: str) -> HeaderEdit:
    header = option.header
    name = header_name(header.key, join(path, "header.key"))
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


def header_name(name: str, path: str) -> bytes:
    """A header that may be changed, in lower case. Raises ConfigError."""
    lowered = name.lower()
    if lowered.startswith(":") or lowered == "host":
        raise ConfigError(path, shown(name), "pseudo-headers and host may not be modified; use host_rewrite_literal")
    if not _TOKEN.fullmatch(name):
        raise ConfigError(path, shown(name), "is not a header name")
    return lowered.encode()
