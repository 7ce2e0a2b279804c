"""Filters in Python that fail, exit or answer with nonsense: what their own requests get."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import trio

from isthmus_proxy.extension import Exchange, HttpFilter, Reply, RequestHeaders, ResponseHeaders
from isthmus_proxy.http.filters.python.config import Limits
from isthmus_proxy.http.filters.python.testing import serve, stat
from isthmus_proxy.observe.formatter import compile_text
from isthmus_proxy.testing import Proxy, eventually, forward, running_proxy

Base = HttpFilter[Mapping[str, Any]]
SHORT = 0.05


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with running_proxy() as proxy:
        yield proxy


POST = b"POST /%b HTTP/1.1\r\nhost: a.b\r\ncontent-length: 3\r\n\r\nabc"


class Broken(Base):
    """Fails in the hook that the path names, after it has changed something."""

    def fail(self, where: str, path: str) -> None:
        if path == f"/{where}":
            raise RuntimeError(where)

    def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> None:
        headers.set("x-changed", "1")
        exchange.set_metadata("broken", {"changed": True})
        self.fail("request_headers", headers.path)

    def on_request_data(self, exchange: Exchange, data: bytes) -> None:
        self.fail("request_data", exchange.request.path)

    def on_response_headers(self, exchange: Exchange, headers: ResponseHeaders) -> None:
        headers.set("x-changed-back", "1")
        self.fail("response_headers", exchange.request.path)

    def on_response_data(self, exchange: Exchange, data: bytes) -> None:
        self.fail("response_data", exchange.request.path)

    def on_local_reply(self, exchange: Exchange, reply: Reply) -> Reply | None:
        self.fail("local_reply", exchange.request.path)
        return None

    def on_end(self, exchange: Exchange, status: int, details: str) -> None:
        self.fail("end", exchange.request.path)


class BrokenLater(Broken):
    """The same in tasks."""

    async def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> None:  # type: ignore[override]
        await trio.lowlevel.checkpoint()
        super().on_request_headers(exchange, headers)

    async def on_response_headers(self, exchange: Exchange, headers: ResponseHeaders) -> None:  # type: ignore[override]
        await trio.lowlevel.checkpoint()
        super().on_response_headers(exchange, headers)

    async def on_end(self, exchange: Exchange, status: int, details: str) -> None:  # type: ignore[override]
        await trio.lowlevel.checkpoint()
        super().on_end(exchange, status, details)


class Exits(Base):
    """Wants the process to end."""

    def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> None:
        raise SystemExit(3)


class Babbles(Base):
    """Answers what no hook may."""

    def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> Any:
        return "yes"


KINDS = [(Broken, Limits()), (Broken, Limits(threads=1)), (BrokenLater, Limits())]


@pytest.mark.trio
@pytest.mark.parametrize(("kind", "limits"), KINDS)
@pytest.mark.parametrize("where", ["request_headers", "request_data", "response_headers"])
async def test_a_hook_that_fails_closed_costs_its_own_request_alone(
    proxy: Proxy, kind: type[Base], limits: Limits, where: str
) -> None:
    await serve(proxy, kind, limits=limits)
    peer = await proxy.client()
    await peer.send(POST % where.encode())
    head, _ = await peer.message()
    assert head.startswith(b"HTTP/1.1 500")
    await eventually(lambda: [line.details for line in proxy.logs.lines] == ["python_filter_error"])
    assert stat(proxy, "errors") == 1
    status, head, _ = await proxy.get(b"/fine")
    assert status == 200
    assert b"x-changed-back: 1" in head


@pytest.mark.trio
@pytest.mark.parametrize(("kind", "limits"), KINDS)
@pytest.mark.parametrize("where", ["request_headers", "request_data", "response_headers", "response_data"])
async def test_a_hook_that_fails_open_is_as_if_it_did_not_exist(
    proxy: Proxy, kind: type[Base], limits: Limits, where: str
) -> None:
    proxy.logs.render = compile_text("%REQ(X-CHANGED)% %DYNAMIC_METADATA(broken:changed)%")
    await serve(proxy, kind, limits=replace(limits, fail_open=True))
    peer = await proxy.client()
    await peer.send(POST % where.encode())
    head, body = await peer.message()
    assert head.startswith(b"HTTP/1.1 200")
    assert body.replace(b"\r\n", b"").strip(b"0") in (b"ok", b"2ok")
    assert (b"x-changed-back" in head) == (where != "response_headers")
    expected = b"- -" if where == "request_headers" else b"1 true"
    await eventually(lambda: proxy.logs.texts == [expected])


@pytest.mark.trio
async def test_a_response_that_has_begun_is_cut_off(proxy: Proxy) -> None:
    await serve(proxy, Broken)
    peer = await proxy.client()
    await peer.send(b"GET /response_data HTTP/1.1\r\nhost: a.b\r\n\r\n")
    data = await peer.read_all()
    assert data.startswith(b"HTTP/1.1 200")
    assert not data.endswith(b"0\r\n\r\n")
    await eventually(lambda: [line.details for line in proxy.logs.lines] == ["python_filter_error"])


@pytest.mark.trio
@pytest.mark.parametrize("path", [b"/end", b"/local_reply"])
@pytest.mark.parametrize(("kind", "limits"), KINDS)
async def test_nobody_suffers_from_a_failure_at_the_end(
    proxy: Proxy, kind: type[Base], limits: Limits, path: bytes
) -> None:
    await serve(proxy, kind, limits=limits)
    if path == b"/local_reply":
        proxy.route(forward("missing"))
    status, _, _ = await proxy.get(path)
    assert status == (503 if path == b"/local_reply" else 200)
    await eventually(lambda: stat(proxy, "errors") == 1)


@pytest.mark.trio
@pytest.mark.parametrize("kind", [Exits, Babbles])
@pytest.mark.parametrize("limits", [Limits(), Limits(threads=1)])
async def test_neither_an_exit_nor_a_wrong_answer_goes_any_further(
    proxy: Proxy, kind: type[Base], limits: Limits
) -> None:
    await serve(proxy, kind, limits=limits)
    assert (await proxy.get())[0] == 500
    assert stat(proxy, "errors") == 1
