"""Whether the first bytes of a connection are those of an RPC protocol, and of which. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus_proxy.codec.rpc import RpcCodec

MAX_BYTES = 32
"""Codecs that need more than this to tell are taken for a no."""

TR = "tr"
_TR_PROTOCOL = 13
"""The first byte of TR, the protocol of SOFA before Bolt. Nothing else of it is read: its header is inside the serialised body."""


def detect(codecs: Sequence[RpcCodec], data: bytes, *, tr: bool) -> str | None:
    """The name of the protocol, empty if it is none of those; None: more bytes may tell."""
    undecided = not data
    for codec in codecs:
        found = codec.detect(data)
        if found:
            return codec.name
        undecided = undecided or found is None
    if tr and data and data[0] == _TR_PROTOCOL:
        return TR
    return None if undecided and len(data) < MAX_BYTES else ""
