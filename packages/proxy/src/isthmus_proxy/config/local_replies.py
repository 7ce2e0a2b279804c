"""Compiles local_reply_config of the HTTP connection manager."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.access_log import struct_pairs
from isthmus_proxy.config.header_edits import compile_added_headers
from isthmus_proxy.config.log_filter import compile_log_filter
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.listener.model import LocalReplies, ReplyFormat, ReplyMapper
from isthmus_proxy.observe.formatter import compile_json, compile_text


def compile_local_replies(proto: Any, path: str) -> LocalReplies | None:
    """The compiled local_reply_config of a connection manager, None if it has none. Raises ConfigError."""
    if not proto.HasField("local_reply_config"):
        return None
    config, path = proto.local_reply_config, join(path, "local_reply_config")
    mappers = tuple(_mapper(each, f"{join(path, 'mappers')}[{i}]") for i, each in enumerate(config.mappers))
    return LocalReplies(mappers, _format(config, "body_format", path))


def _mapper(proto: Any, path: str) -> ReplyMapper:
    if not proto.HasField("filter"):
        raise ConfigError(join(path, "filter"), "", "is required")
    status = int(proto.status_code.value) if proto.HasField("status_code") else None
    if status is not None and not 200 <= status < 600:
        raise ConfigError(join(path, "status_code"), str(status), "must be from 200 to 599")
    return ReplyMapper(
        compile_log_filter(proto.filter, join(path, "filter")),
        status,
        _body(proto, path),
        _format(proto, "body_format_override", path),
        compile_added_headers(proto.headers_to_add, join(path, "headers_to_add")),
    )


def _body(proto: Any, path: str) -> bytes | None:
    if not proto.HasField("body"):
        return None
    chosen = proto.body.WhichOneof("specifier")
    if chosen == "inline_string":
        return str(proto.body.inline_string).encode()
    if chosen == "inline_bytes":
        return bytes(proto.body.inline_bytes)
    raise ConfigError(join(path, "body"), shown(chosen or ""), "only inline_string and inline_bytes are supported")


def _format(message: Any, name: str, path: str) -> ReplyFormat | None:
    if not message.HasField(name):
        return None
    proto, path = getattr(message, name), join(path, name)
    chosen, omit = proto.WhichOneof("format"), bool(proto.omit_empty_values)
    if chosen == "json_format":
        render = compile_json(struct_pairs(proto.json_format), omit_empty=omit, path=join(path, chosen))
        return ReplyFormat(render, (proto.content_type or "application/json").encode())
    if chosen == "text_format_source" and proto.text_format_source.WhichOneof("specifier") != "inline_string":
        raise ConfigError(join(path, chosen), "", "only inline_string is supported")
    text = proto.text_format_source.inline_string if chosen == "text_format_source" else proto.text_format
    render = compile_text(text, omit_empty=omit, path=join(path, chosen or "text_format"))
    return ReplyFormat(render, (proto.content_type or "text/plain").encode())
