"""The head that goes upstream before its route is known: hop-by-hop headers gone, the proxy's own added, in Envoy's order."""

from __future__ import annotations

from isthmus_proxy.codec.http1.request import ParsedRequest
from isthmus_proxy.http.authority import stripped
from isthmus_proxy.http.client_address import Client, Vantage, client_of
from isthmus_proxy.http.hop_by_hop import request_headers
from isthmus_proxy.http.local_reply import LocalReply
from isthmus_proxy.http.message import Headers, RequestHead, set_header
from isthmus_proxy.http.path_normalization import PathNormalizer
from isthmus_proxy.listener.model import HttpConnectionManagerConfig

X_REQUEST_ID = b"x-request-id"
X_FORWARDED_FOR = b"x-forwarded-for"
X_FORWARDED_PROTO = b"x-forwarded-proto"
X_FORWARDED_PORT = b"x-forwarded-port"
X_ENVOY_INTERNAL = b"x-envoy-internal"
X_ENVOY_EXTERNAL_ADDRESS = b"x-envoy-external-address"
_EDGE_ONLY = frozenset(
    {b"x-envoy-decorator-operation", b"x-envoy-downstream-service-cluster", b"x-envoy-downstream-service-node",
     b"x-envoy-original-path"}
)  # fmt: skip
_CLIENT_CERT = b"x-forwarded-client-cert"
_SCHEMES = frozenset({b"http", b"https"})


class Arrival:
    """A request as its filters and its route see it: ``head``, who sent it, and ``reply`` if its path is refused or moved."""

    __slots__ = ("client", "head", "reply")

    def __init__(self, head: RequestHead, client: Client, reply: LocalReply | None) -> None:
        self.head = head
        self.client = client
        self.reply = reply


def arrival(
    request: ParsedRequest, config: HttpConnectionManagerConfig, vantage: Vantage, generated_id: bytes
) -> Arrival:
    """Work out what ``request`` looks like behind the connection manager; ``generated_id`` becomes its x-request-id where
    none is kept."""
    forwarded_for = b",".join([value for name, value in request.headers if name == X_FORWARDED_FOR])
    client = client_of(forwarded_for, config, vantage)
    headers = request_headers(request, internal=client.internal, keep_expect=config.proxy_informational)
    if client.edge:
        headers = [field for field in headers if field[0] not in _EDGE_ONLY]
    _forwarding_headers(headers, config, vantage, forwarded_for)
    _origin_headers(headers, config, client)
    if config.via:
        append_via(headers, config.via)
    names = {name for name, _ in headers}
    if config.generate_request_id and (
        X_REQUEST_ID not in names or (client.edge and not config.preserve_external_request_id)
    ):
        set_header(headers, X_REQUEST_ID, generated_id)
    headers = _client_cert(headers, config, vantage)
    path, reply = _path(request, config)
    head = RequestHead(request.method, path, _authority(request, config, vantage), headers, request.version)
    head.scheme = _scheme(request, config, headers)
    return Arrival(head, client, reply)


def _client_cert(headers: Headers, config: HttpConnectionManagerConfig, vantage: Vantage) -> Headers:
    """x-forwarded-client-cert: kept, dropped, lengthened or replaced, by whether the client showed a certificate."""
    mode = config.forward_client_cert
    if mode == "ALWAYS_FORWARD_ONLY" or (mode == "FORWARD_ONLY" and vantage.mutual):
        return headers
    if not vantage.mutual or mode not in ("APPEND_FORWARD", "SANITIZE_SET"):
        return [field for field in headers if field[0] != _CLIENT_CERT]
    known = [value for name, value in headers if name == _CLIENT_CERT] if mode == "APPEND_FORWARD" else []
    set_header(headers, _CLIENT_CERT, b",".join([*known, vantage.client_cert]))
    return headers


def _forwarding_headers(
    headers: Headers, config: HttpConnectionManagerConfig, vantage: Vantage, forwarded_for: bytes
) -> None:
    """x-forwarded-for, -proto and -port: with use_remote_address this proxy says them, else whoever came first."""
    proto = config.scheme_to_overwrite or vantage.scheme
    present = {name for name, _ in headers}
    if config.use_remote_address and not config.skip_xff_append:
        value = forwarded_for + b"," + vantage.announced if forwarded_for else vantage.announced
        set_header(headers, X_FORWARDED_FOR, value)
    untrusted = config.use_remote_address and not config.xff_num_trusted_hops
    if untrusted or config.scheme_to_overwrite or X_FORWARDED_PROTO not in present:
        set_header(headers, X_FORWARDED_PROTO, proto)
    if config.append_x_forwarded_port and X_FORWARDED_PORT not in present:
        headers.append((X_FORWARDED_PORT, b"%d" % vantage.port))


def _origin_headers(headers: Headers, config: HttpConnectionManagerConfig, client: Client) -> None:
    if client.internal:
        set_header(headers, X_ENVOY_INTERNAL, b"true")
    elif config.use_remote_address:
        set_header(headers, X_ENVOY_EXTERNAL_ADDRESS, client.address)


def _path(request: ParsedRequest, config: HttpConnectionManagerConfig) -> tuple[bytes, LocalReply | None]:
    path = request.path
    if config.normalizes_paths and path.startswith(b"/"):
        slashes = config.path_with_escaped_slashes_action
        normalizer = PathNormalizer(
            normalize_path=config.normalize_path, merge_slashes=config.merge_slashes, escaped_slashes=slashes
        )
        return normalizer.apply(path)
    return path, None


def _authority(request: ParsedRequest, config: HttpConnectionManagerConfig, vantage: Vantage) -> bytes:
    authority = request.authority or (config.default_host_for_http_10 if request.version == b"HTTP/1.0" else b"")
    if (not config.strip_port and not config.strip_trailing_host_dot) or request.method == b"CONNECT":
        return authority
    return stripped(
        authority, port=config.strip_port, local_port=vantage.port, trailing_dot=config.strip_trailing_host_dot
    )


def _scheme(request: ParsedRequest, config: HttpConnectionManagerConfig, headers: Headers) -> bytes:
    if config.scheme_to_overwrite:
        return config.scheme_to_overwrite
    if request.scheme:
        return request.scheme
    said = next((value for name, value in headers if name == X_FORWARDED_PROTO), b"")
    return said if said in _SCHEMES else b"http"


def append_via(headers: Headers, via: bytes) -> None:
    """Append ``via`` to the list of proxies (RFC 9110, 7.6.3)."""
    for index, (name, value) in enumerate(headers):
        if name == b"via":
            headers[index] = (name, value + b", " + via)
            return
    headers.append((b"via", via))
