"""The head that goes upstream before its route is known: hop-by-hop headers gone, the proxy's own added, in Envoy's order."""

from __future__ import annotations

from ipaddress import ip_address

from isthmus_proxy.codec.http1.request import ParsedRequest
from isthmus_proxy.http.hop_by_hop import request_headers
from isthmus_proxy.http.message import Headers, RequestHead
from isthmus_proxy.listener.model import HttpConnectionManagerConfig

X_REQUEST_ID = b"x-request-id"
X_FORWARDED_FOR = b"x-forwarded-for"
X_FORWARDED_PROTO = b"x-forwarded-proto"
_EDGE_ONLY = frozenset(
    {b"x-envoy-decorator-operation", b"x-envoy-downstream-service-cluster", b"x-envoy-downstream-service-node",
     b"x-envoy-original-path", b"x-forwarded-client-cert"}
)  # fmt: skip


def forwarded_head(
    request: ParsedRequest, config: HttpConnectionManagerConfig, peer: bytes, generated_id: bytes
) -> RequestHead:
    """The head of ``request`` as its filters and its route see it.

    ``peer`` is the address of the client without port, used with ``use_remote_address``; ``generated_id`` becomes
    ``x-request-id`` where none is kept.
    """
    headers = request_headers(request)
    edge = config.use_remote_address
    if edge:
        headers = _at_the_edge(headers, config, peer)
    names = {name for name, _ in headers}
    scheme = b"http"
    if X_FORWARDED_PROTO not in names:
        headers.append((X_FORWARDED_PROTO, scheme))
    elif any(field == (X_FORWARDED_PROTO, b"https") for field in headers):
        scheme = b"https"
    if config.via:
        _append_via(headers, config.via)
    if X_REQUEST_ID in names and edge and not config.preserve_external_request_id:
        headers = [field for field in headers if field[0] != X_REQUEST_ID]
        names.discard(X_REQUEST_ID)
    if X_REQUEST_ID not in names and config.generate_request_id:
        headers.append((X_REQUEST_ID, generated_id))
    head = RequestHead(request.method, request.path, request.authority, headers, request.version)
    head.scheme = scheme
    return head


def trusted_client(request: ParsedRequest, config: HttpConnectionManagerConfig) -> str:
    """The client's address as trusted proxies tell it, ``host:0``; empty if only the connection tells."""
    hops = config.xff_num_trusted_hops if config.use_remote_address else config.xff_num_trusted_hops + 1
    chain = b",".join([value for name, value in request.headers if name == X_FORWARDED_FOR]).split(b",")
    if not 0 < hops <= len(chain):
        return ""
    try:
        address = ip_address(chain[-hops].strip(b" \t").decode("ascii"))
    except ValueError:
        return ""
    return f"[{address}]:0" if address.version == 6 else f"{address}:0"


def _at_the_edge(headers: Headers, config: HttpConnectionManagerConfig, peer: bytes) -> Headers:
    """What ``use_remote_address`` means: this proxy, not the client, says who the client is."""
    headers = [field for field in headers if field[0] not in _EDGE_ONLY]
    trusted = config.xff_num_trusted_hops
    if not trusted:
        headers = [field for field in headers if field[0] != X_FORWARDED_PROTO]
    forwarded = [value for name, value in headers if name == X_FORWARDED_FOR]
    chain = [address.strip(b" \t") for value in forwarded for address in value.split(b",")]
    if not config.skip_xff_append:
        headers = [field for field in headers if field[0] != X_FORWARDED_FOR]
        headers.append((X_FORWARDED_FOR, b",".join([*forwarded, peer])))
    client = chain[-trusted] if 0 < trusted <= len(chain) else peer
    headers = [field for field in headers if field[0] != b"x-envoy-external-address"]
    headers.append((b"x-envoy-external-address", client))
    return headers


def _append_via(headers: Headers, via: bytes) -> None:
    """Append ``via`` to the list of proxies (RFC 9110, 7.6.3)."""
    for index, (name, value) in enumerate(headers):
        if name == b"via":
            headers[index] = (name, value + b", " + via)
            return
    headers.append((b"via", via))
