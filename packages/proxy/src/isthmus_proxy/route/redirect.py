"""The Location of a redirect route, built as Envoy builds it (config.route.v3.RedirectAction)."""

from __future__ import annotations

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.route.domains import without_port
from isthmus_proxy.route.model import RedirectAction, StringMatch
from isthmus_proxy.route.rewrite import new_path

_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}


def location(match: StringMatch, action: RedirectAction, request: RequestHead) -> bytes:
    """Return the absolute URI to send as ``location``; ``match`` is the path condition that the request met."""
    scheme = b"https" if action.https else action.scheme or request.scheme
    return scheme + b"://" + _host(action, scheme, request) + _path(match, action, request.path)


def _host(action: RedirectAction, scheme: bytes, request: RequestHead) -> bytes:
    host = action.host
    if host is None:
        host = request.authority
        # The port that was the old scheme's default would be wrong under the new one.
        other_default = scheme != request.scheme and host.endswith(_DEFAULT_PORTS.get(request.scheme, b"\0"))
        if action.port is not None or (other_default and not action.keep_port):
            host = without_port(host)
    return host if action.port is None else host + b":%d" % action.port


def _path(match: StringMatch, action: RedirectAction, path: bytes) -> bytes:
    bare, mark, query = path.partition(b"?")
    if action.path is not None:
        if b"?" in action.path:
            return action.path
        bare = action.path
    elif action.prefix_rewrite is not None or action.regex_rewrite is not None:
        bare = new_path(match, action.prefix_rewrite, action.regex_rewrite, bare)
    return bare if action.strip_query else bare + mark + query
