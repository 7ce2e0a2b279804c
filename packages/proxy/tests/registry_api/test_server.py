"""The HTTP edge: requests of SDKs, keep-alive, bodies in pieces, limits."""

from __future__ import annotations

import json

import pytest
import trio
from trio.testing import memory_stream_pair

from isthmus_proxy.registry_api.message import ApiAnswer
from isthmus_proxy.registry_api.server import LIMITS, registry_api_server

pytestmark = pytest.mark.trio


def echo(method: str, path: str, body: bytes) -> ApiAnswer:
    return ApiAnswer(200, [method, path, body.decode()])


async def read_answer(stream: trio.abc.Stream) -> tuple[bytes, object]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive_some(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    size = next(int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"content-length: "))
    while len(body) < size:
        body += await stream.receive_some(65536)
    return head.split(b"\r\n")[0], json.loads(body)


async def test_requests_on_one_connection() -> None:
    client, server = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registry_api_server(echo).serve, server)
        request = b"POST /services/publish?x=1 HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello"
        for cut in (0, 10, len(request) - 2):
            await client.send_all(request[:cut])
            await client.send_all(request[cut:])
            assert await read_answer(client) == (b"HTTP/1.1 200 OK", ["POST", "/services/publish", "hello"])
        await client.send_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert (await read_answer(client))[1] == ["GET", "/", ""]
        assert await client.receive_some(1) == b""


async def test_what_is_too_much_or_no_http_is_refused() -> None:
    for data, status in (
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9999999\r\n\r\n" + b"x" * (LIMITS.body_bytes + 1), b"413"),
        (b"nonsense\r\n\r\n", b"400"),
    ):
        client, server = memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(registry_api_server(echo).serve, server)
            await client.send_all(data)
            head, body = await read_answer(client)
            assert head.split(b" ")[1] == status
            assert isinstance(body, dict)
            assert body["success"] is False
