"""``grpc.reflection.v1.ServerReflection``, and its ``v1alpha``: tells tools such as grpcurl which services there are.

Its messages are a few fields of text and bytes, so they are read and written by hand rather than by a package of their own.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool

from isthmus_controlplane.snapshot.resource import varint

SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
# What defines the services that are served; loaded with the first question.
_MODULES = (
    "envoy.service.accesslog.v3.als_pb2",
    "envoy.service.cluster.v3.cds_pb2",
    "envoy.service.discovery.v3.ads_pb2",
    "envoy.service.endpoint.v3.eds_pb2",
    "envoy.service.extension.v3.config_discovery_pb2",
    "envoy.service.listener.v3.lds_pb2",
    "envoy.service.load_stats.v3.lrs_pb2",
    "envoy.service.route.v3.rds_pb2",
    "envoy.service.route.v3.srds_pb2",
    "envoy.service.runtime.v3.rtds_pb2",
    "envoy.service.secret.v3.sds_pb2",
    "envoy.service.status.v3.csds_pb2",
)
FILE_BY_NAME, FILE_BY_SYMBOL, LIST_SERVICES = 3, 4, 7  # fields of ServerReflectionRequest
NOT_FOUND, UNIMPLEMENTED = 5, 12  # gRPC status codes


def handlers(services: Callable[[], frozenset[str]]) -> dict[str, Any]:
    """Return the methods of both versions; ``services`` names what is served."""

    async def info(_requests: object, context: Any) -> None:
        while isinstance(request := await context.read(), bytes):
            await context.write(answer(request, sorted(services())))

    behaviour: Any = info
    method = {"ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(behaviour)}
    return dict.fromkeys(SERVICES, method)


def answer(request: bytes, services: list[str]) -> bytes:
    """Answer one question."""
    number, text = _question(request)
    match number:
        case n if n == LIST_SERVICES:
            body = _field(6, b"".join(_field(1, _field(1, name.encode())) for name in services))
        case n if n in {FILE_BY_NAME, FILE_BY_SYMBOL}:
            body = _file(text, by_symbol=n == FILE_BY_SYMBOL)
        case _:
            body = _error(UNIMPLEMENTED, "extensions are not described")
    return _field(2, request) + body


def _file(text: str, *, by_symbol: bool) -> bytes:
    """Describe the file of that name, or with that symbol, and all that it imports."""
    for module in _MODULES:
        importlib.import_module(module)
    pool = descriptor_pool.Default()
    try:
        file: Any = pool.FindFileContainingSymbol(text) if by_symbol else pool.FindFileByName(text)
    except KeyError:
        return _error(NOT_FOUND, f"{text!r} is not known")
    return _field(4, b"".join(_field(1, each) for each in _with_imports(file, set())))


def _with_imports(file: Any, seen: set[str]) -> Iterator[bytes]:
    seen.add(file.name)
    made = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(made)
    yield made.SerializeToString()
    for each in file.dependencies:
        if each.name not in seen:
            yield from _with_imports(each, seen)


def _error(code: int, text: str) -> bytes:
    return _field(7, b"\x08" + varint(code) + _field(2, text.encode()))


def _field(number: int, body: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + varint(len(body)) + body


def _question(request: bytes) -> tuple[int, str]:
    """Return the number and text of the last field but the host; (0, "") for what is no question."""
    found, at = (0, ""), 0
    while at < len(request):
        tag, at = _varint(request, at)
        if tag & 7 != 2:
            return (0, "")
        length, at = _varint(request, at)
        if tag >> 3 != 1:
            found = (tag >> 3, request[at : at + length].decode("utf-8", "replace"))
        at += length
    return found


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(raw):
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80 or shift > 63:
            break
    return value, at
