"""One report to a collector of a cluster: a POST over HTTP/1.1 on a connection of its own, or a unary gRPC call."""

from __future__ import annotations

import trio

from isthmus_proxy.http.surroundings import Surroundings
from isthmus_proxy.trace.model import Collector

_ANSWER_BYTES = 64 * 1024


class ClusterSender:
    """See the module; calling it sends."""

    __slots__ = ("_surroundings",)

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings

    async def __call__(self, collector: Collector, body: bytes) -> None:
        """See ``reporter.Sender``."""
        cluster = self._surroundings.clusters.get(collector.cluster)
        if cluster is None:
            raise LookupError("there is no such cluster")
        if collector.kind == "otlp_grpc":
            await _call(self._surroundings, collector, body)
            return
        endpoint = cluster.choose()
        if endpoint is None:
            raise OSError("no healthy endpoint")
        if cluster.config.secured:
            raise OSError("TLS to collectors is not supported")
        host, port = endpoint.address
        stream = await trio.open_tcp_stream(host, port)
        try:
            await _post(stream, collector, body)
        finally:
            await trio.aclose_forcefully(stream)


async def _post(stream: trio.abc.Stream, collector: Collector, body: bytes) -> None:
    kind = b"application/json" if collector.kind == "zipkin" else b"application/x-protobuf"
    lines = [
        b"POST %b HTTP/1.1" % collector.path.encode(),
        b"host: %b" % collector.authority.encode(),
        b"content-type: %b" % kind,
        b"user-agent: isthmus-proxy",
        *(b"%b: %b" % header for header in collector.headers),
        b"content-length: %d" % len(body),
        b"connection: close",
    ]
    await stream.send_all(b"\r\n".join(lines) + b"\r\n\r\n" + body)
    answer = b""
    while b"\r\n" not in answer and len(answer) < _ANSWER_BYTES:
        data = await stream.receive_some(4096)
        if not data:
            raise OSError("closed the connection before its answer")
        answer += bytes(data)
    status = answer.split(b"\r\n", 1)[0].split(b" ")[1:2]
    if not status or not (status[0].startswith(b"2")):
        raise OSError(f"answered {answer[:80].split(bytes([13]))[0].decode('latin-1')}")


async def _call(surroundings: Surroundings, collector: Collector, body: bytes) -> None:
    from isthmus_proxy.grpc.call import CallOptions  # noqa: PLC0415 - few configurations need it
    from isthmus_proxy.grpc.client import GrpcClient  # noqa: PLC0415 - as above
    from isthmus_proxy.grpc.status import GrpcError  # noqa: PLC0415 - as above
    from isthmus_proxy.grpc.task import unary  # noqa: PLC0415 - as above

    client = GrpcClient(surroundings)
    options = CallOptions(timeout=collector.timeout, authority=collector.authority, metadata=collector.headers)
    try:
        await unary(client, collector.cluster, collector.path, body, options)
    except GrpcError as error:
        raise OSError(f"gRPC status {error}") from error
