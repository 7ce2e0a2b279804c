"""Filters whose configuration comes over xDS, on their connection manager: the newest serves, and what it replaces is given up."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest

from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.filters.bandwidth_limit import BandwidthLimitConfig
from isthmus_proxy.http.filters.stream_filter import FilterCallbacks, FilterContext, StreamFilter
from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.listener.model import DiscoveredFilterConfig, Extension, HttpFilterConfig
from isthmus_proxy.testing import Peer, Proxy, eventually

pytestmark = pytest.mark.trio


@dataclass(frozen=True)
class Marks:
    """A filter that tells the upstream which version it is of, and counts what is given up."""

    value: bytes
    closed: list[bytes]

    def make(self, context: FilterContext) -> Marks:
        context.own(self)
        return self

    def create(self, callbacks: FilterCallbacks, overrides: tuple[object, ...]) -> StreamFilter:
        return _Mark(callbacks, self.value)

    def close(self) -> None:
        self.closed.append(self.value)


class _Mark(StreamFilter):
    __slots__ = ("_value",)

    def __init__(self, callbacks: FilterCallbacks, value: bytes) -> None:
        super().__init__(callbacks)
        self._value = value

    def decode_headers(self, head: RequestHead, end_stream: bool) -> int:
        head.headers.append((b"x-mark", self._value))
        return 0


def discovered(default: Marks | None = None) -> tuple[HttpFilterConfig, ...]:
    return (HttpFilterConfig("mark", DiscoveredFilterConfig("mark", frozenset({"marks"}), default)),)


async def marked(proxy: Proxy) -> bytes:
    """What the upstream saw, or the status of what the proxy answered itself."""
    status, _, body = await proxy.get()
    if status != 200:
        return b"%d" % status
    (line,) = [line for line in body.split(b"\r\n") if line.startswith(b"x-mark: ")]
    return line.removeprefix(b"x-mark: ")


async def echo(peer: Peer, _number: int) -> None:
    head, _ = await peer.message()
    await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (len(head), head))


async def test_the_newest_serves_and_nothing_is_500(proxy: Proxy) -> None:
    closed: list[bytes] = []
    await proxy.relay(echo, http_filters=discovered())
    assert await marked(proxy) == b"500"
    assert proxy.logs.lines[-1].flags == "NFCF"
    handle = proxy.surroundings.extensions().get_or_create("mark")
    handle.replace(Extension("marks", Marks(b"one", closed)))
    assert await marked(proxy) == b"one"
    handle.replace(Extension("marks", Marks(b"two", closed)))
    assert (await marked(proxy), closed) == (b"two", [b"one"])
    handle.replace(Extension("other", Marks(b"never", closed)))
    assert (await marked(proxy), closed) == (b"500", [b"one", b"two"])


async def test_a_default_serves_while_there_is_none_and_after(proxy: Proxy) -> None:
    closed: list[bytes] = []
    await proxy.relay(echo, http_filters=discovered(Marks(b"default", closed)))
    assert await marked(proxy) == b"default"
    handle = proxy.surroundings.extensions().get_or_create("mark")
    handle.replace(Extension("marks", Marks(b"one", closed)))
    assert await marked(proxy) == b"one"
    handle.replace(None)
    assert (await marked(proxy), closed) == (b"default", [b"default", b"one"])
    proxy.listeners.remove("l")
    await eventually(lambda: closed == [b"default", b"one", b"default"])
    assert handle.filters == []


class Unmakeable(Marks):
    """Its second filter cannot be made."""

    made = 0

    def make(self, context: FilterContext) -> Marks:
        Unmakeable.made += 1
        if Unmakeable.made > 1:
            raise ConfigError("value", "bad", "cannot be made twice")
        return super().make(context)


async def test_one_that_only_some_filters_can_be_made_of_serves_nowhere(proxy: Proxy) -> None:
    closed: list[bytes] = []
    twice = tuple(dataclasses.replace(each, name=name) for name in ("a", "b") for each in discovered())
    await proxy.relay(echo, http_filters=twice)
    handle = proxy.surroundings.extensions().get_or_create("mark")
    good = Extension("marks", Marks(b"good", closed))
    handle.replace(good)
    with pytest.raises(ConfigError):
        handle.replace(Extension("marks", Unmakeable(b"bad", closed)))
    assert handle.extension is good
    status, _, body = await proxy.get()
    assert (status, body.count(b"x-mark: good"), body.count(b"x-mark: bad")) == (200, 2, 0)


async def test_what_both_versions_count_goes_on(proxy: Proxy) -> None:
    await proxy.relay(echo, http_filters=discovered())
    handle = proxy.surroundings.extensions().get_or_create("mark")
    handle.replace(
        Extension("marks", BandwidthLimitConfig("band", request=True, response=True, enabled=True, rate=1_000_000))
    )
    assert (await proxy.get())[0] == 200
    assert proxy.stat("band.http_bandwidth_limit.request_enabled") == 1
    handle.replace(
        Extension("marks", BandwidthLimitConfig("band", request=True, response=True, enabled=True, rate=2_000_000))
    )
    assert (await proxy.get())[0] == 200
    assert proxy.stat("band.http_bandwidth_limit.request_enabled") == 2
    handle.replace(None)
    assert proxy.stat("band.http_bandwidth_limit.request_enabled") is None
