"""Where spans go: the providers that a Telemetry may name, as the command line has them."""

from __future__ import annotations

import dataclasses
from typing import Literal
from urllib.parse import urlsplit

from isthmus_controlplane.errors import ConfigError

DEFAULT_PATH = "/v1/traces"  # of OTLP over HTTP


@dataclasses.dataclass(frozen=True, slots=True)
class TracingProvider:
    """A collector that speaks OTLP.

    Attributes:
        name: by which Telemetries name it.
        transport: ``grpc`` or ``http``.
        host: of a service in the mesh.
        port: of that service.
        path: of requests over HTTP; empty for gRPC.
    """

    name: str
    transport: Literal["grpc", "http"]
    host: str
    port: int
    path: str = ""


def parse_tracing_provider(text: str, option: str) -> TracingProvider:
    """Read ``NAME=grpc://HOST:PORT`` or ``NAME=http://HOST:PORT/PATH``.

    Raises:
        ConfigError: it is something else.
    """
    name, equals, url = text.partition("=")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 0
    except ValueError:
        host, port = "", 0
    form = f"{option} {text}: is not of the form NAME=grpc://HOST:PORT or NAME=http://HOST:PORT{DEFAULT_PATH}"
    if not name or not equals or not host or not port or parts.query or parts.username is not None:
        raise ConfigError(form)
    if parts.scheme == "grpc" and parts.path in {"", "/"}:
        return TracingProvider(name, "grpc", host, port)
    if parts.scheme == "http":
        return TracingProvider(name, "http", host, port, parts.path if parts.path not in {"", "/"} else DEFAULT_PATH)
    raise ConfigError(form)
