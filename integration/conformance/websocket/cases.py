"""What is sent after the handshake, or as one; the groups are those of the Autobahn test suite. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from conformance.websocket.frames import BINARY, CONTINUATION, PING, PONG, TEXT, close, deflated, fragments, frame

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
LENGTHS = (0, 1, 125, 126, 127, 128, 65535, 65536, 1 << 20)
PLAIN = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", KEY),
)


@dataclass(frozen=True, slots=True)
class Case:
    """A conversation that is held twice, with the origin itself and through the proxy, and must be the same.

    Attributes:
        name: group and name.
        send: bytes after the handshake; a close frame follows unless ``ends``.
        path: what is asked for; the origin behaves accordingly.
        headers: of the handshake beside Host.
        method: of the handshake.
        step: bytes per write, 0 for all at once.
        early: the bytes go out with the handshake, before its answer.
        ends: what is sent ends the connection.
    """

    name: str
    send: bytes = b""
    path: str = "/echo"
    headers: tuple[tuple[str, str], ...] = PLAIN
    method: str = "GET"
    step: int = 0
    early: bool = False
    ends: bool = False


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _handshakes()
    yield from _lengths()
    yield from _control_frames()
    yield from _violations()
    yield from _fragmentation()
    yield from _texts()
    yield from _closes()
    yield from _volume()
    yield from _endings()


def _with(*headers: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    """The plain handshake with other or more headers."""
    changed = {name for name, _ in headers}
    return (*(field for field in PLAIN if field[0] not in changed), *headers)


def _handshakes() -> Iterator[Case]:
    hello = frame(TEXT, b"hello")
    yield Case("handshake/plain", hello)
    yield Case("handshake/connection-list", hello, headers=_with(("Connection", "keep-alive, Upgrade")))
    yield Case("handshake/other-case", hello, headers=_with(("Connection", "uPGRADE"), ("Upgrade", "WebSocket")))
    yield Case("handshake/subprotocol", hello, headers=_with(("Sec-WebSocket-Protocol", "x, chat")))
    yield Case("handshake/unknown-subprotocol", hello, headers=_with(("Sec-WebSocket-Protocol", "x")))
    yield Case("handshake/frames-at-once", hello, early=True)
    yield Case("handshake/query-and-cookie", hello, path="/echo?a=b", headers=_with(("Cookie", "a=b")))
    yield Case("handshake/refused-by-origin", path="/refuse")
    yield Case("handshake/answered-200-by-origin", path="/plain")
    yield Case("handshake/wrong-version", headers=_with(("Sec-WebSocket-Version", "7")))
    yield Case("handshake/without-key", headers=PLAIN[:3])
    yield Case("handshake/malformed-key", headers=_with(("Sec-WebSocket-Key", "short")))
    for name, offer in (("", ""), ("-with-window", "; client_max_window_bits")):
        headers = _with(("Sec-WebSocket-Extensions", f"permessage-deflate{offer}"))
        yield Case(f"handshake/compression{name}", deflated(b"hello" * 50), headers=headers)


def _lengths() -> Iterator[Case]:
    for kind, opcode in (("text", TEXT), ("binary", BINARY)):
        for length in LENGTHS:
            yield Case(f"1-framing/{kind}-{length}", frame(opcode, b"*" * length))
        yield Case(f"1-framing/{kind}-65536-in-steps-of-997", frame(opcode, b"*" * 65536), step=997)
    yield Case("1-framing/byte-by-byte", frame(TEXT, b"*" * 300), step=1)


def _control_frames() -> Iterator[Case]:
    yield Case("2-ping/empty", frame(PING))
    yield Case("2-ping/text", frame(PING, b"Hello, world!"))
    yield Case("2-ping/binary", frame(PING, bytes([0, 255, 254, 253])))
    yield Case("2-ping/125-bytes", frame(PING, b"\xfe" * 125))
    yield Case("2-ping/126-bytes", frame(PING, b"\xfe" * 126), ends=True)
    yield Case("2-ping/125-bytes-in-steps-of-1", frame(PING, b"\xfe" * 125), step=1)
    yield Case("2-ping/unsolicited-pong", frame(PONG, b"unsolicited") + frame(PING, b"then"))
    yield Case("2-ping/ten", b"".join(frame(PING, b"payload-%d" % number) for number in range(10)))


def _violations() -> Iterator[Case]:
    for bits in range(1, 8):
        yield Case(f"3-reserved-bits/{bits}", frame(TEXT, b"hello", reserved=bits), ends=True)
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        yield Case(f"4-opcodes/{opcode}", frame(TEXT, b"hello") + frame(opcode, b""), ends=True)
    yield Case("4-opcodes/unmasked", frame(TEXT, b"hello", mask=b""))
    yield Case("4-opcodes/no-frame-at-all", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", ends=True)


def _fragmentation() -> Iterator[Case]:
    yield Case("5-fragmentation/text-in-two", fragments(TEXT, b"frag", b"ment"))
    yield Case("5-fragmentation/text-in-two-step-1", fragments(TEXT, b"frag", b"ment"), step=1)
    yield Case("5-fragmentation/empty-parts", fragments(TEXT, b"", b"", b"x", b""))
    yield Case("5-fragmentation/binary-in-a-thousand", fragments(BINARY, *[b"x"] * 1000))
    interleaved = frame(TEXT, b"frag", fin=False) + frame(PING, b"p") + frame(CONTINUATION, b"ment")
    yield Case("5-fragmentation/ping-between", interleaved)
    yield Case("5-fragmentation/ping-in-two", fragments(PING, b"pi", b"ng"), ends=True)
    yield Case("5-fragmentation/continuation-of-nothing", frame(CONTINUATION, b"x"), ends=True)
    yield Case("5-fragmentation/text-in-text", frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), ends=True)


def _texts() -> Iterator[Case]:
    valid = {"greek": "κόσμε", "four-bytes": "\U0010ffff", "nul": "a\0b", "byte-order-mark": "\ufeffx"}
    invalid = {
        "truncated": b"\xce",
        "surrogate": b"\xed\xa0\x80",
        "too-high": b"\xf4\x90\x80\x80",
        "overlong": b"\xc0\xaf",
    }
    for name, text in valid.items():
        yield Case(f"6-utf-8/{name}", frame(TEXT, text.encode()))
    yield Case("6-utf-8/split-within-a-character", fragments(TEXT, b"\xce", b"\xba"))
    for name, raw in invalid.items():
        yield Case(f"6-utf-8/invalid-{name}", frame(TEXT, raw), ends=True)
        yield Case(f"6-utf-8/binary-{name}", frame(BINARY, raw))


def _closes() -> Iterator[Case]:
    yield Case("7-close/without-code", close(None), ends=True)
    yield Case("7-close/after-a-message", frame(TEXT, b"hello") + close(), ends=True)
    yield Case("7-close/then-more", close() + frame(TEXT, b"too late"), ends=True)
    yield Case("7-close/one-byte", frame(8, b"\x03"), ends=True)
    yield Case("7-close/reason", close(1000, b"bye"), ends=True)
    yield Case("7-close/longest-reason", close(1000, b"*" * 123), ends=True)
    yield Case("7-close/reason-too-long", close(1000, b"*" * 124), ends=True)
    yield Case("7-close/reason-no-utf-8", close(1000, b"\xce"), ends=True)
    for code in (1001, 1003, 1007, 1011, 3000, 3999, 4000, 4999, 0, 999, 1004, 1005, 1006, 1016, 2999, 5000, 65535):
        yield Case(f"7-close/code-{code}", close(code), ends=True)


def _volume() -> Iterator[Case]:
    yield Case("9-volume/1000-messages", b"".join(frame(TEXT, b"message %d" % number) for number in range(1000)))
    yield Case("9-volume/8-of-256-kib", frame(BINARY, bytes(range(256)) * 1024) * 8)
    yield Case("9-volume/128-kib-in-steps-of-64", frame(BINARY, b"x" * (1 << 17)), step=64)


def _endings() -> Iterator[Case]:
    yield Case("10-end/origin-closes", path="/bye")
    yield Case("10-end/origin-breaks-off", path="/abort", ends=True)
    yield Case("10-end/origin-speaks-first", path="/greeting")
