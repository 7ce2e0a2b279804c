"""One report to a collector of a cluster: a POST over HTTP/1.1, or a unary gRPC call. A connection of its own each time."""

from __future__ import annotations

import trio

from isthmus_proxy.cluster.cluster_manager import ClusterManager
from isthmus_proxy.trace.model import Collector

_ANSWER_BYTES = 64 * 1024


class ClusterSender:
    """See the module; calling it sends."""

    __slots__ = ("_clusters",)

    def __init__(self, clusters: ClusterManager) -> None:
        self._clusters = clusters

    async def __call__(self, collector: Collector, body: bytes) -> None:
        """See ``reporter.Sender``."""
        cluster = self._clusters.get(collector.cluster)
        if cluster is None:
            raise LookupError("there is no such cluster")
        endpoint = cluster.choose()
        if endpoint is None:
            raise OSError("no healthy endpoint")
        host, port = endpoint.address
        stream = await trio.open_tcp_stream(host, port)
        try:
            await (_call if collector.kind == "otlp_grpc" else _post)(stream, collector, body)
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


async def _call(stream: trio.abc.Stream, collector: Collector, body: bytes) -> None:
    from isthmus_proxy.xds.grpc_framing import GrpcError  # noqa: PLC0415 - needs h2, which few configurations do
    from isthmus_proxy.xds.grpc_stream import GrpcStream  # noqa: PLC0415 - as above

    call = GrpcStream(stream)
    try:
        await call.start(collector.authority, collector.path)
        await call.send(body)
        while not await call.receive():
            pass
    except GrpcError as error:
        if error.status:
            raise OSError(f"gRPC status {error}") from error
