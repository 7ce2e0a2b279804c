"""For tests of what is built on the codec: a codec whose counters can be read."""

from __future__ import annotations

from dataclasses import dataclass, field

from isthmus_proxy.codec.http2.codec import Http2Codec
from isthmus_proxy.codec.http2.header_block import BlockMemo
from isthmus_proxy.codec.http2.options import Http2Options
from isthmus_proxy.codec.http2.stats import Http2Stats

GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")]
POST = [(b":method", b"POST"), *GET[1:]]


@dataclass
class Count:
    """A counter or gauge."""

    name: str
    value: int = 0


@dataclass
class Counts:
    """Counters by name, made on demand."""

    made: dict[str, Count] = field(default_factory=dict)

    def make(self, name: str) -> Count:
        """The counter ``name``."""
        return self.made.setdefault(name, Count(name))

    def __getitem__(self, name: str) -> int:
        return self.made[name].value


def codec(options: Http2Options | None = None, *, client: bool = False) -> tuple[Http2Codec, Counts]:
    """A codec that has been started, and its counters."""
    counts = Counts()
    made = Http2Codec(options or Http2Options(), Http2Stats(counts.make, counts.make), BlockMemo(), client=client)
    made.start()
    return made, counts
