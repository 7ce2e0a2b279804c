"""Dubbo frames as Dubbo's own client makes them, for tests: written apart from the codec."""

from __future__ import annotations

import struct


def text(value: str) -> bytes:
    """A string as hessian2 value, of up to 1023 characters."""
    size = len(value.encode("utf-16-be")) // 2
    head = bytes([size]) if size < 32 else bytes([0x30 + (size >> 8), size & 0xFF])
    return head + value.encode()


def attachments(pairs: dict[str, str]) -> bytes:
    """An untyped map of strings."""
    return b"H" + b"".join(text(name) + text(value) for name, value in pairs.items()) + b"Z"


def frame(flag: int, identifier: int, body: bytes, status: int = 0) -> bytes:
    """Any frame."""
    return struct.pack(">HBBQI", 0xDABB, flag, status, identifier, len(body)) + body


def request(
    identifier: int,
    service: str,
    method: str,
    arguments: bytes = b"",
    *,
    types: str = "",
    version: str = "0.0.0",
    extra: dict[str, str] | None = None,
    two_way: bool = True,
) -> bytes:
    """A call with hessian2."""
    body = text("2.0.2") + text(service) + text(version) + text(method) + text(types) + arguments
    body += attachments({"path": service, "interface": service, **(extra or {})})
    return frame(0xC2 if two_way else 0x82, identifier, body)


def response(identifier: int, value: bytes = b"\x94N", status: int = 20) -> bytes:
    """An answer with hessian2; ``value`` begins with the kind of the result."""
    return frame(0x02, identifier, value, status)
