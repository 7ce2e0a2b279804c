from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import trio
from isthmus_filter_request_audit import RequestAudit

from isthmus_proxy.extension import RequestHeaders
from isthmus_proxy.extension.testing import FakeContext, FakeExchange, make_filter, run_exchange
from isthmus_proxy.http.filters.python.loading import load_filter


def test_it_is_installed() -> None:
    assert load_filter("request-audit", "filter") is RequestAudit


async def ask(audit: RequestAudit, path: str) -> None:
    request = RequestHeaders("GET", path, "shop", [("user-agent", "test"), ("cookie", "secret")])
    await run_exchange(audit, request, fake=FakeExchange(request, request_id=path, route_name="r"))


def with_collector(test: Callable[[trio.SocketListener, int], Any]) -> None:
    async def run() -> None:
        with trio.fail_after(20):
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            async with listener:
                await test(listener, listener.socket.getsockname()[1])

    trio.run(run)


async def lines(stream: trio.SocketStream, count: int) -> list[dict[str, Any]]:
    data = b""
    while data.count(b"\n") < count:
        more = await stream.receive_some()
        assert more
        data += more
    return [json.loads(line) for line in data.splitlines()]


def test_every_request_is_told() -> None:
    async def told(listener: trio.SocketListener, port: int) -> None:
        context = FakeContext()
        audit = make_filter(RequestAudit, {"collector": f"127.0.0.1:{port}"}, context)
        await ask(audit, "/before")  # waits in the queue
        async with trio.open_nursery() as nursery:
            nursery.start_soon(audit.serve)
            async with await listener.accept() as stream:
                await ask(audit, "/after")
                first, second = await lines(stream, 2)
            while context.counters["sent"].value < 2:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert (first["path"], second["path"]) == ("/before", "/after")
        assert (first["status"], first["details"], first["route"]) == (200, "via_upstream", "r")
        assert first["headers"] == {"user-agent": ["test"]}

    with_collector(told)


def test_a_full_queue_drops_and_counts() -> None:
    async def run() -> None:
        context = FakeContext()
        audit = make_filter(RequestAudit, {"collector": "127.0.0.1:1", "queue_size": 2}, context)
        for number in range(5):
            await ask(audit, f"/{number}")
        assert [record["path"] for record in audit.queue] == ["/0", "/1"]
        assert context.counters["dropped"].value == 3

    trio.run(run)


def test_nothing_is_lost_when_the_collector_goes_away() -> None:
    async def told(listener: trio.SocketListener, port: int) -> None:
        audit = make_filter(RequestAudit, {"collector": f"127.0.0.1:{port}"})
        refused = await trio.open_tcp_listeners(0, host="127.0.0.1")
        gone: Any = refused[0].socket.getsockname()[1]
        await refused[0].aclose()
        await ask(audit, "/kept")
        away = make_filter(RequestAudit, {"collector": f"127.0.0.1:{gone}"})
        away.queue = audit.queue
        with pytest.raises(OSError, match="attempts to connect"):
            await away.serve()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(audit.serve)
            async with await listener.accept() as stream:
                (record,) = await lines(stream, 1)
            nursery.cancel_scope.cancel()
        assert record["path"] == "/kept"

    with_collector(told)


@pytest.mark.parametrize("values", [{}, {"collector": "x"}, {"collector": "h:1", "queue_size": 0}])
def test_wrong_configurations_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        make_filter(RequestAudit, values)
