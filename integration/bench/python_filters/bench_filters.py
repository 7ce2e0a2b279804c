"""Filters in Python that do the least: what is left is what running them costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isthmus_proxy.extension import Exchange, HttpFilter, RequestHeaders, ResponseHeaders

Base = HttpFilter[Mapping[str, Any]]


class OneHook(Base):
    """Looks at the request's head."""

    def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> None:
        headers.get("host")


class FourHooks(Base):
    """Changes a header each way, and reads the response's body."""

    changes_response_body = False

    def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> None:
        headers.set("x-bench", "1")

    def on_response_headers(self, exchange: Exchange, headers: ResponseHeaders) -> None:
        headers.set("x-bench", "1")

    def on_response_data(self, exchange: Exchange, data: bytes) -> None:
        """Only reads."""

    def on_end(self, exchange: Exchange, status: int, details: str) -> None:
        """Only looks."""


class OneAsyncHook(Base):
    """Looks at the request's head, in a task."""

    async def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> None:
        headers.get("host")
