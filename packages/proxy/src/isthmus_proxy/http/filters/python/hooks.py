"""The hooks that a filter overrides."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.extension.http_filter import HttpFilter
from isthmus_proxy.http.filters.python.runner import Hook


class Hooks:
    """One attribute a hook, None where the filter does not override it: those are never called."""

    __slots__ = (
        "changes_request_body", "changes_response_body", "end", "local_reply", "request_data", "request_headers",
        "request_trailers", "response_data", "response_headers", "response_trailers", "serve",
    )  # fmt: skip

    def __init__(self, python_filter: HttpFilter[Any]) -> None:
        self.request_headers = _hook(python_filter, "on_request_headers")
        self.request_data = _hook(python_filter, "on_request_data")
        self.request_trailers = _hook(python_filter, "on_request_trailers")
        self.response_headers = _hook(python_filter, "on_response_headers")
        self.response_data = _hook(python_filter, "on_response_data")
        self.response_trailers = _hook(python_filter, "on_response_trailers")
        self.local_reply = _hook(python_filter, "on_local_reply")
        self.end = _hook(python_filter, "on_end")
        self.serve = _hook(python_filter, "serve")
        self.changes_request_body = self.request_data is not None and python_filter.changes_request_body
        self.changes_response_body = self.response_data is not None and python_filter.changes_response_body


def _hook(python_filter: HttpFilter[Any], name: str) -> Hook | None:
    if getattr(type(python_filter), name) is getattr(HttpFilter, name):
        return None
    return Hook(getattr(python_filter, name), name)
