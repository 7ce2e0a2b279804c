"""What ``/why`` is asked: a connection and a request on it, from the parameters of a query."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from isthmus_proxy.listener.model import SocketAddress

LOCAL_CLIENT = SocketAddress("127.0.0.1", 1)


class QuestionError(ValueError):
    """A parameter that cannot be understood; its text says what to do."""


@dataclass(frozen=True, slots=True)
class Question:
    """``destination`` None: the listener's own address."""

    listener: str = ""
    destination: SocketAddress | None = None
    source: SocketAddress = LOCAL_CLIENT
    server_name: str = ""
    transport_protocol: str = "raw_buffer"
    application_protocols: tuple[str, ...] = ()
    request: bytes = b""


def parse(query: Mapping[str, str], known: Sequence[str]) -> Question:
    """``known`` are the parameters that there are. Raises QuestionError."""
    for name in query:
        if name not in known and not name.startswith("header."):
            raise QuestionError(f"unknown parameter {name}; known are {', '.join(known)}")
    transport = query.get("transport_protocol") or ("tls" if query.get("server_name") else "raw_buffer")
    return Question(
        listener=query.get("listener", ""),
        destination=_address(query["destination"], "destination") if query.get("destination") else None,
        source=_address(query["source"], "source") if query.get("source") else LOCAL_CLIENT,
        server_name=query.get("server_name", "").lower(),
        transport_protocol=transport,
        application_protocols=tuple(part for part in query.get("application_protocols", "").split(",") if part),
        request=_request(query),
    )


def _address(value: str, name: str) -> SocketAddress:
    host, _, port = value.rpartition(":")
    host = host.strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        host = ""
    if not host or not port.isdecimal() or not 0 < int(port[:6]) <= 65535:
        raise QuestionError(f"{name} must be ADDRESS:PORT, such as 10.0.0.1:80 or [fd00::1]:80, and is {value!r}")
    return SocketAddress(host, int(port))


def _request(query: Mapping[str, str]) -> bytes:
    """The request as a client would send it over HTTP/1.1."""
    lines = [
        f"{query.get('method') or 'GET'} {query.get('path') or '/'} HTTP/1.1",
        f"host: {query.get('authority', '')}",
    ]
    lines += [f"{name.removeprefix('header.')}: {value}" for name, value in query.items() if name.startswith("header.")]
    if any(character in line for line in lines for character in "\r\n\0"):
        raise QuestionError("parameters must not contain line breaks")
    try:
        return "\r\n".join([*lines, "", ""]).encode("latin-1")
    except UnicodeEncodeError:
        raise QuestionError("parameters must be Latin-1; write the bytes of other characters percent-encoded") from None
