"""The codecs that there are, by name: those of the proxy, and those that other packages bring by entry point."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points

from isthmus_proxy.codec.rpc import RpcCodec

GROUP = "isthmus_proxy.rpc_codecs"
"""Entry points of codecs: each names a callable that takes ``verify_crc`` by keyword and returns an RpcCodec."""

_OWN = {
    "bolt": ("isthmus_proxy.codec.bolt.codec", "BoltCodec"),
    "dubbo": ("isthmus_proxy.codec.dubbo.codec", "DubboCodec"),
}
_WITH_GOAWAY = frozenset({"dubbo"})


def codec_names() -> list[str]:
    """All names, those of the proxy first."""
    return [*_OWN, *sorted({point.name for point in entry_points(group=GROUP)} - set(_OWN))]


def make_codec(name: str, *, verify_crc: bool = False) -> RpcCodec:
    """The codec ``name``; its module is imported now. Raises KeyError for a name that is none of ``codec_names``."""
    if name in _OWN:
        module, attribute = _OWN[name]
        make: Callable[..., RpcCodec] = getattr(import_module(module), attribute)
    else:
        make = entry_points(group=GROUP)[name].load()
    return make(verify_crc=verify_crc)


def sends_goaway(name: str) -> bool:
    """Whether every client of the protocol understands to be asked to leave."""
    return name in _WITH_GOAWAY
