"""Compiles config.route.v3.DirectResponseAction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.observe.formatter import compile_text
from isthmus_proxy.route.model import DirectResponseAction


def compile_direct_response(action: Any, path: str, max_body: int) -> DirectResponseAction:
    """Compile a direct response whose body has at most ``max_body`` bytes."""
    if not 200 <= action.status <= 599:
        raise ConfigError(join(path, "status"), str(action.status), "must be from 200 to 599")
    body = _data(action.body, join(path, "body"), max_body)
    if len(body) > max_body:
        reason = f"is longer than max_direct_response_body_size_bytes of its route configuration, {max_body}"
        raise ConfigError(join(path, "body"), shown(body[:40]), reason)
    if not action.HasField("body_format"):
        return DirectResponseAction(action.status, body)
    return _formatted(action, body, join(path, "body_format"))


def _data(source: Any, path: str, limit: int) -> bytes:
    """The bytes of a core.v3.DataSource, at most one more than ``limit``."""
    chosen = source.WhichOneof("specifier")
    if chosen == "inline_string":
        text: str = source.inline_string
        return text.encode()
    if chosen != "filename":
        return bytes(source.inline_bytes)
    try:
        with Path(source.filename).open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise ConfigError(join(path, chosen), shown(source.filename), f"cannot be read: {error.strerror}") from error


def _formatted(action: Any, body: bytes, path: str) -> DirectResponseAction:
    template = action.body_format
    chosen = template.WhichOneof("format")
    if chosen == "text_format":
        text = template.text_format
    elif chosen == "text_format_source":
        text = template.text_format_source.inline_string
    else:
        raise ConfigError(path, "", "needs one of text_format and text_format_source; JSON bodies are not supported")
    if "%LOCAL_REPLY_BODY%" in text:
        text = text.replace("%LOCAL_REPLY_BODY%", body.decode("utf-8", "replace").replace("%", "%%"))
    render = compile_text(text, omit_empty=template.omit_empty_values, path=join(path, chosen))
    content_type = template.content_type.encode() or b"text/plain"
    return DirectResponseAction(action.status, body, content_type, render)
