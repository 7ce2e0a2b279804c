"""Request heads (RFC 9112, 3): one pass over the lines, once per distinct head where the caller keeps a memo."""

from __future__ import annotations

import re

from isthmus_proxy.codec.http1.framing import CHUNKED, NO_BODY, request_framing
from isthmus_proxy.codec.http1.grammar import (
    SPECIAL,
    Fields,
    Special,
    bad_request,
    list_tokens,
    parse_fields,
    split_head,
)
from isthmus_proxy.codec.http1.limits import REQUEST_LIMITS, HeadLimits
from isthmus_proxy.codec.http1.spelling import Spelling, remembered
from isthmus_proxy.errors import ProtocolError

METHODS = frozenset(
    b"ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE M-SEARCH NOTIFY OPTIONS "
    b"PATCH POST PROPFIND PROPPATCH PURGE PUT REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE UNBIND UNLINK UNLOCK "
    b"UNSUBSCRIBE".split()
)
"""What Envoy takes without allow_custom_methods."""

_TARGET_BYTES = bytes(range(0x21, 0x7F))
_AUTHORITY = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+;=:\[\]]*")
_VERSION = re.compile(rb"HTTP/(\d)\.(\d)")


class ParsedRequest:
    """An immutable request head. ``headers`` are in order, lower-case, without host, which is ``authority``.

    ``framing`` and ``length`` say how the body is delimited, ``connection`` holds the lower-case options of the Connection
    header, ``upgrade`` the wanted protocols if the head asks for an upgrade. ``refusal``, if not empty, is the detail under
    which the well-formed head has to be answered with status 400. A wish for HTTP/2 in plain text (h2c) is none, as
    nobody has to grant it. ``switches``: it is such a head, or CONNECT, so what follows is no request. ``plain``: its
    response is framed as any other's, which those to HEAD, to HTTP/1.0 and to what ``switches`` are not. ``plan`` is the
    caller's: what it derived from this head, kept with it in a memo. ``spelling`` of its names, where it is remembered.
    """

    __slots__ = (
        "authority", "connection", "expect_continue", "framing", "head_bytes", "headers", "keep_alive", "length",
        "method", "path", "plain", "plan", "refusal", "scheme", "spelling", "switches", "upgrade", "version",
    )  # fmt: skip

    def __init__(self, method: bytes, path: bytes, version: bytes, fields: Fields, special: Special) -> None:
        self.method = method
        self.version = version
        self.headers = tuple(field for field in fields if field[0] != b"host")
        self.scheme = b""
        self.authority = b""
        self.path = path
        self.framing, self.length = request_framing(special)
        self.connection = list_tokens(special.get(b"connection", []))
        self.keep_alive = _keep_alive(version, self.connection)
        self.expect_continue = [v.lower() for v in special.get(b"expect", [])] == [b"100-continue"]
        upgrades = b"upgrade" in self.connection and special.get(b"upgrade")
        self.upgrade: bytes | None = b",".join(upgrades) if upgrades else None
        if self.upgrade is not None and self.upgrade.lower() == b"h2c":
            self.upgrade = None
        self.switches = self.upgrade is not None or method == b"CONNECT"
        self.head_bytes = 0
        self.plan: object | None = None
        self.spelling: Spelling | None = None
        self.refusal = ""
        self.plain = version == b"HTTP/1.1" and method != b"HEAD" and not self.switches

    def as_get(self) -> ParsedRequest:
        """The same as a GET without a body."""
        fields = [field for field in self.headers if field[0] not in (b"content-length", b"transfer-encoding")]
        special: Special = {}
        for name, value in fields:
            if name in SPECIAL:
                special.setdefault(name, []).append(value)
        request = ParsedRequest(b"GET", self.path, self.version, fields, special)
        request.authority, request.scheme, request.spelling = self.authority, self.scheme, self.spelling
        return request

    def with_length(self, length: int) -> ParsedRequest:
        """The same with a body of ``length`` bytes."""
        value = b"%d" % length
        fields = [field for field in self.headers if field[0] not in (b"content-length", b"transfer-encoding")]
        fields.append((b"content-length", value))
        special: Special = {}
        for name, text in fields:
            if name in SPECIAL:
                special.setdefault(name, []).append(text)
        request = ParsedRequest(self.method, self.path, self.version, fields, special)
        request.authority, request.scheme = self.authority, self.scheme
        return request

    @property
    def end_stream(self) -> bool:
        """Whether the request has no body: the head is the whole message."""
        return self.framing == NO_BODY


def _keep_alive(version: bytes, connection: list[bytes]) -> bool:
    if version == b"HTTP/1.1":
        return b"close" not in connection
    return b"keep-alive" in connection and b"close" not in connection


def parse_request_head(
    raw: bytes, limits: HeadLimits = REQUEST_LIMITS, *, accept_http_10: bool = False
) -> ParsedRequest:
    """Parse the head ``raw``, which ends with its empty line. Raises ProtocolError with the status and detail to answer."""
    lines = split_head(raw)
    method, target, version = _request_line(lines[0], accept_http_10=accept_http_10)
    fields, special = parse_fields(lines, limits.max_headers)
    if limits.underscores != "ALLOW":
        fields = _without_underscores(fields, limits.underscores)
    if version == b"HTTP/1.0" and b"transfer-encoding" in special:
        raise bad_request("transfer-encoding in HTTP/1.0", "http1.transfer_encoding_not_allowed")
    request = ParsedRequest(method, target, version, fields, special)
    if method == b"CONNECT" and request.framing != NO_BODY:
        _refuse_body(request.framing)
    _resolve_target(request, _host(special, version))
    request.head_bytes = len(raw)
    if limits.key_format:
        request.spelling = remembered(lines, limits.key_format)
    return request


def _refuse_body(framing: int) -> None:
    """CONNECT has none (RFC 9110, 9.3.6): what follows its head belongs to the tunnel."""
    if framing == CHUNKED:
        raise ProtocolError(501, "http1.invalid_transfer_encoding", "transfer-encoding in CONNECT")
    raise bad_request("content-length in CONNECT", "http1.body_disallowed")


def _without_underscores(fields: Fields, action: str) -> Fields:
    if action == "REJECT_REQUEST" and any(b"_" in name for name, _ in fields):
        raise bad_request("underscore in a field name", "http1.unexpected_underscore")
    return [field for field in fields if b"_" not in field[0]]


def _request_line(line: bytes, *, accept_http_10: bool) -> tuple[bytes, bytes, bytes]:
    parts = line.split(b" ")
    if len(parts) == 2 and parts[0] in METHODS:
        raise ProtocolError(426, "low_version", "HTTP/0.9 request")
    if len(parts) != 3 or parts[0] not in METHODS:
        raise bad_request(f"malformed request line {line[:64]!r}")
    method, target, version = parts
    if version != b"HTTP/1.1" and not (accept_http_10 and version == b"HTTP/1.0"):
        if _VERSION.fullmatch(version):
            raise ProtocolError(426, "low_version", f"version {version!r} is not served")
        raise bad_request(f"malformed version {version[:64]!r}")
    if not target or target.translate(None, _TARGET_BYTES):
        raise bad_request("malformed request target")
    return method, target, version


def _host(special: Special, version: bytes) -> bytes | None:
    hosts = special.get(b"host", [])
    if len(hosts) > 1:
        raise bad_request("more than one host")
    if hosts and not _AUTHORITY.fullmatch(hosts[0]):
        raise bad_request(f"malformed host {hosts[0][:64]!r}", "http.invalid_authority")
    if not hosts and version == b"HTTP/1.0":
        return b""
    return hosts[0] if hosts else None


def _resolve_target(request: ParsedRequest, host: bytes | None) -> None:
    """Set authority, scheme and path from the form of the target (RFC 9112, 3.2)."""
    target = request.path
    if b"#" in target:
        request.refusal = "path_normalization_failed"
    if target[0] == 0x2F or (target == b"*" and request.method == b"OPTIONS"):
        if host is None:
            request.refusal = "missing_host_header"
        request.authority = host or b""
    elif request.method == b"CONNECT":
        request.authority, request.path = target, b""
    else:
        _absolute_form(request, target)
    if not _AUTHORITY.fullmatch(request.authority):
        raise bad_request("malformed authority", "http.invalid_authority")


def _absolute_form(request: ParsedRequest, target: bytes) -> None:
    scheme, separator, rest = target.partition(b"://")
    scheme = scheme.lower()
    if not separator or scheme not in (b"http", b"https"):
        raise bad_request("malformed request target")
    end = min((i for i in (rest.find(b"/"), rest.find(b"?")) if i >= 0), default=len(rest))
    request.scheme, request.authority = scheme, rest[:end]
    path = rest[end:]
    request.path = path if path.startswith(b"/") else b"/" + path
    if not request.authority:
        raise bad_request("empty authority")
