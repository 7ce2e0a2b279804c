"""The command operators of access log formats: each name with its argument rule and how to read it from a StreamInfo.

Names and meaning are Envoy's. A reader gives a str, an int, or None for what is not known; how None is printed is the
formatter's business. Texts are latin-1 decoded bytes, so that header values leave as they came.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from isthmus_proxy.http.message import PER_EXCHANGE, RequestHead, ResponseHead
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.observe.time_format import compile_time

Value = str | int | None
Reader = Callable[[StreamInfo], Value]
Factory = Callable[[str], Reader]

_ORIGINAL_PATH = b"x-envoy-original-path"


def milliseconds(start: float | None, end: float | None) -> int | None:
    """Whole milliseconds between two monotonic times; None if either did not happen."""
    if start is None or end is None:
        return None
    return int((end - start) * 1000.0)


def _request_header(info: StreamInfo, name: bytes) -> bytes | None:
    head = info.request
    if head is None:
        return None
    if name.startswith(b":"):
        return _pseudo(head, name)
    if name == b"host":
        return head.authority or None
    value = head.get(name)
    if value is None and name == _ORIGINAL_PATH:
        return info.original_path
    return value


def _pseudo(head: RequestHead, name: bytes) -> bytes | None:
    if name == b":path":
        return head.path or None
    if name == b":method":
        return head.method or None
    if name == b":authority":
        return head.authority or None
    return head.scheme if name == b":scheme" else None


def _response_header(head: ResponseHead | None, name: bytes) -> bytes | None:
    if head is None:
        return None
    if name == b":status":
        return str(head.status).encode()
    return head.get(name)


def _names(argument: str) -> tuple[bytes, bytes | None]:
    """Header name and alternative of ``A?B``. Raises ValueError with Envoy's words."""
    parts = argument.lower().encode("latin-1", "replace").split(b"?")
    if len(parts) > 2:
        message = f"More than 1 alternative header specified in token: {argument}"
        raise ValueError(message)
    return parts[0], parts[1] if len(parts) == 2 else None


def _request(argument: str) -> Reader:
    name, other = _names(argument)

    def read(info: StreamInfo) -> Value:
        value = _request_header(info, name)
        if value is None and other is not None:
            value = _request_header(info, other)
        return None if value is None else value.decode("latin-1")

    return read


def _response(argument: str) -> Reader:
    name, other = _names(argument)

    def read(info: StreamInfo) -> Value:
        value = _response_header(info.response, name)
        if value is None and other is not None:
            value = _response_header(info.response, other)
        return None if value is None else value.decode("latin-1")

    return read


def _start_time(*, local: bool) -> Factory:
    def make(argument: str) -> Reader:
        render = compile_time(argument, local=local)
        return lambda info: render(info.start_time)

    return make


def _emit_time(*, local: bool) -> Factory:
    def make(argument: str) -> Reader:
        render = compile_time(argument, local=local)
        return lambda info: render(info.start_time + (info.ended_at or info.started_at) - info.started_at)

    return make


def _host(address: str) -> str | None:
    return address.rpartition(":")[0].strip("[]") or None


def _port(address: str) -> int | None:
    port = address.rpartition(":")[2]
    return int(port) if port.isdecimal() else None


def _upstream_remote(info: StreamInfo) -> str:
    return info.upstream.remote if info.upstream is not None else ""


def _upstream_local(info: StreamInfo) -> str:
    return info.upstream.local if info.upstream is not None else ""


def _flags(info: StreamInfo) -> Value:
    return (
        ",".join(info.flags) if info.flags else "-"
    )  # not null even in JSON, nor left out with empty values: so does Envoy


_UPSTREAM_HOST: Reader = lambda info: info.upstream_host or None  # noqa: E731
_DOWNSTREAM: Reader = lambda info: info.downstream_remote or None  # noqa: E731
_DIRECT: Reader = lambda info: info.downstream_direct_remote or None  # noqa: E731
_DIRECT_HOST: Reader = lambda info: _host(info.downstream_direct_remote)  # noqa: E731
_DIRECT_PORT: Reader = lambda info: _port(info.downstream_direct_remote)  # noqa: E731
_DOWNSTREAM_HOST: Reader = lambda info: _host(info.downstream_remote)  # noqa: E731
_DOWNSTREAM_PORT: Reader = lambda info: _port(info.downstream_remote)  # noqa: E731
_UNSET: Reader = lambda info: None  # noqa: E731
_HOSTNAME = socket.gethostname()

PLAIN: dict[str, Reader] = {
    "PROTOCOL": lambda info: info.protocol or None,
    "RESPONSE_CODE": lambda info: info.status,
    "RESPONSE_CODE_DETAILS": lambda info: info.response_code_details or None,
    "CONNECTION_TERMINATION_DETAILS": lambda info: info.connection_termination_details or None,
    "RESPONSE_FLAGS": _flags,
    "LOCAL_REPLY_BODY": lambda info: info.local_reply_body.decode("latin-1"),
    "ROUTE_NAME": lambda info: info.route_name or None,
    "BYTES_RECEIVED": lambda info: info.bytes_received,
    "BYTES_SENT": lambda info: info.bytes_sent,
    "DURATION": lambda info: None if info.ended_at is None else int((info.ended_at - info.started_at) * 1000.0),
    "REQUEST_DURATION": lambda info: milliseconds(info.started_at, info.request_end_at),
    "RESPONSE_DURATION": lambda info: milliseconds(info.started_at, info.upstream_first_byte_at),
    "RESPONSE_TX_DURATION": lambda info: milliseconds(info.upstream_first_byte_at, info.ended_at),
    "UPSTREAM_HOST": _UPSTREAM_HOST,
    "UPSTREAM_REMOTE_ADDRESS": lambda info: _upstream_remote(info) or None,
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": lambda info: _host(_upstream_remote(info)),
    "UPSTREAM_REMOTE_PORT": lambda info: _port(_upstream_remote(info)),
    "UPSTREAM_CLUSTER": lambda info: info.upstream_cluster or None,
    "UPSTREAM_LOCAL_ADDRESS": lambda info: _upstream_local(info) or None,
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": lambda info: _host(_upstream_local(info)),
    "UPSTREAM_LOCAL_PORT": lambda info: _port(_upstream_local(info)),
    "UPSTREAM_TRANSPORT_FAILURE_REASON": lambda info: info.upstream_transport_failure or None,
    "UPSTREAM_REQUEST_ATTEMPT_COUNT": lambda info: info.attempts,
    "DOWNSTREAM_REMOTE_ADDRESS": _DOWNSTREAM,
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": _DOWNSTREAM_HOST,
    "DOWNSTREAM_REMOTE_PORT": _DOWNSTREAM_PORT,
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": _DIRECT,
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": _DIRECT_HOST,
    "DOWNSTREAM_DIRECT_REMOTE_PORT": _DIRECT_PORT,
    "DOWNSTREAM_LOCAL_ADDRESS": lambda info: info.downstream_local or None,
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": lambda info: _host(info.downstream_local),
    "DOWNSTREAM_LOCAL_PORT": lambda info: _port(info.downstream_local),
    "CONNECTION_ID": lambda info: info.connection_id,
    "STREAM_ID": lambda info: None if info.request_id is None else info.request_id.decode("latin-1"),
    "HOSTNAME": lambda info: _HOSTNAME,
    "VIRTUAL_CLUSTER_NAME": lambda info: info.virtual_cluster or None,
}
"""Operators without argument or length, but for those of TLS."""


def plain_reader(name: str) -> Reader | None:
    """The reader of an operator without argument; those of TLS are loaded by the first format that may have one."""
    found = PLAIN.get(name)
    if found is not None or not name.startswith(("DOWNSTREAM_", "UPSTREAM_", "REQUESTED_SERVER_NAME")):
        return found
    from isthmus_proxy.observe.tls_operators import TLS_OPERATORS  # noqa: PLC0415 - few formats tell of TLS

    return TLS_OPERATORS.get(name)


OF_HEADS = frozenset({"PROTOCOL", "RESPONSE_CODE", "ROUTE_NAME", "UPSTREAM_CLUSTER", "VIRTUAL_CLUSTER_NAME"})
"""Operators whose value is the same in all exchanges that share a planned request head and a planned response head."""


def of_heads(name: str, argument: str) -> bool:
    """Whether the operator is such a one: also each header that is not put in for each exchange."""
    return name in OF_HEADS or (name in WITH_HEADER and PER_EXCHANGE.isdisjoint(_names(argument)))


def settle(name: str, argument: str, info: StreamInfo) -> Reader | None:
    """A faster reader of a header, for all exchanges with the planned heads of ``info``: there it has its place. Else None."""
    wanted = argument.lower().encode("latin-1", "replace")
    if wanted not in PER_EXCHANGE or info.request is None or info.response is None:
        return None
    headers = info.request.headers if name == "REQ" else info.response.headers
    index = next((index for index, (present, _) in enumerate(headers) if present == wanted), -1)
    if index < 0:
        return _UNSET
    return lambda info: headers[index][1].decode("latin-1")


WITH_HEADER: dict[str, Factory] = {"REQ": _request, "RESP": _response}
"""Operators that need a header name and may be cut to a length."""

WITH_TIME: dict[str, Factory] = {
    "START_TIME": _start_time(local=False),
    "START_TIME_LOCAL": _start_time(local=True),
    "EMIT_TIME": _emit_time(local=False),
    "EMIT_TIME_LOCAL": _emit_time(local=True),
}
"""Operators that take an optional strftime pattern."""
