"""What the protocol of a service port means for the proxy."""

from __future__ import annotations

HTTP1_PROTOCOLS = frozenset({"HTTP"})
HTTP2_PROTOCOLS = frozenset({"HTTP2", "GRPC", "GRPC-WEB"})
# Carried as plain TCP, as Istio does with protocols that it has no filter for.
TCP_PROTOCOLS = frozenset({"TCP", "TLS", "HTTPS", "MONGO", "MYSQL", "REDIS", "DUBBO", "BOLT"})
# Told apart by the server name that clients ask for, so that several services may share a port.
TLS_PROTOCOLS = frozenset({"TLS", "HTTPS"})
PROTOCOLS = (*sorted(HTTP1_PROTOCOLS | HTTP2_PROTOCOLS), *sorted(TCP_PROTOCOLS))


def is_http(protocol: str) -> bool:
    """Whether requests on the port are routed by host and path."""
    return protocol.upper() in HTTP1_PROTOCOLS or is_http2(protocol)


def is_http2(protocol: str) -> bool:
    """Whether the endpoints behind the port speak HTTP/2."""
    return protocol.upper() in HTTP2_PROTOCOLS


def is_tcp(protocol: str) -> bool:
    """Whether the port is carried as a stream of bytes."""
    return protocol.upper() in TCP_PROTOCOLS
