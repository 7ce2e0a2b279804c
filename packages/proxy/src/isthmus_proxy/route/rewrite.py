"""How a head changes between downstream and upstream: header edits, path and host rewrites (config.route.v3.RouteAction)."""

from __future__ import annotations

from isthmus_proxy.http.message import Headers, RequestHead
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.route import header_edits
from isthmus_proxy.route.model import ClusterWeight, Decision, ForwardAction, RegexRewrite, StringMatch
from isthmus_proxy.route.regex import substitute


def apply_request(
    decision: Decision,
    target: ClusterWeight,
    request: RequestHead,
    info: StreamInfo,
    *,
    show_original_path: bool = True,
) -> None:
    """Change ``request`` in place as its route says, after the proxy's own headers were added (Envoy's order).

    With ``show_original_path`` (no suppress_envoy_headers) what was replaced goes into ``x-envoy-original-path``,
    ``x-envoy-original-host``, and ``info.original_path``.
    """
    _edit_request(decision, target, request, info)
    action = decision.route.action
    if not isinstance(action, ForwardAction):
        return
    host = new_host(action, request)
    if host:
        append = action.append_forwarded_host
        set_authority(request, host, append_forwarded_host=append, show_original=show_original_path)
    path = rewritten(action, decision.route.match.path, request.path)
    if path is not None:
        if show_original_path:
            info.original_path = request.path
            _set(request.headers, b"x-envoy-original-path", request.path)
        request.path = path


def _edit_request(decision: Decision, target: ClusterWeight, request: RequestHead, info: StreamInfo) -> None:
    if target.request_headers:
        header_edits.apply(target.request_headers, request.headers, info)
    if target.host_rewrite:
        request.authority = target.host_rewrite
    for edits in decision.request_edits:
        header_edits.apply(edits, request.headers, info)


def new_host(action: ForwardAction, request: RequestHead) -> bytes:
    """The host by which ``action`` replaces that of ``request``; empty if it stays."""
    if action.host_rewrite is not None:
        return action.host_rewrite
    if action.host_rewrite_header:
        return _header(request, action.host_rewrite_header) or b""
    regex = action.host_rewrite_path_regex
    if regex is not None:
        return substitute(regex.pattern, regex.substitution, request.path.partition(b"?")[0])
    return b""


def _header(request: RequestHead, name: bytes) -> bytes | None:
    return request.authority if name in (b"host", b":authority") else request.get(name)


def rewritten(action: ForwardAction, match: StringMatch, path: bytes) -> bytes | None:
    """``path`` as ``action`` rewrites it, None if it does not. CONNECT has none to rewrite."""
    if not path:
        return None
    template = action.template_rewrite
    if template is not None:
        bare, mark, query = path.partition(b"?")
        return template.path(bare) + mark + query
    if action.prefix_rewrite is None and action.regex_rewrite is None:
        return None
    return new_path(match, action.prefix_rewrite, action.regex_rewrite, path)


def apply_response(decision: Decision, target: ClusterWeight | None, headers: Headers, info: StreamInfo) -> None:
    """Change the headers of a response in place; ``target`` is None for redirects and direct responses."""
    own = None if target is None else target.response_headers
    if own:  # first even if the most specific level is to win, as in Envoy
        header_edits.apply(own, headers, info)
    for edits in decision.response_edits:
        header_edits.apply(edits, headers, info)


def set_authority(
    request: RequestHead, authority: bytes, *, append_forwarded_host: bool, show_original: bool = True
) -> None:
    """Replace the authority. With ``append_forwarded_host`` the old one is appended to ``x-forwarded-host``.

    With ``show_original`` (no suppress_envoy_headers) it is in ``x-envoy-original-host`` too.
    """
    if show_original:
        _set(request.headers, b"x-envoy-original-host", request.authority)
    if append_forwarded_host and request.authority:
        before = request.get(b"x-forwarded-host")
        value = request.authority if before is None else before + b"," + request.authority
        _set(request.headers, b"x-forwarded-host", value)
    request.authority = authority


def new_path(match: StringMatch, prefix: bytes | None, regex: RegexRewrite | None, path: bytes) -> bytes:
    """Return ``path`` with the matched part replaced by ``prefix``, or substituted by ``regex``; the query stays.

    What ``match`` matched is its prefix, or the whole path for exact and regular expression routes.
    """
    bare, mark, query = path.partition(b"?")
    if prefix is not None:
        whole = match.kind not in ("prefix", "path_separated_prefix")
        bare = prefix + (b"" if whole else bare[len(match.value) :])
    elif regex is not None:
        bare = substitute(regex.pattern, regex.substitution, bare)
    return bare + mark + query


def _set(headers: Headers, name: bytes, value: bytes) -> None:
    """Give ``name`` one value, in the place where it is or at the end."""
    places = [index for index, header in enumerate(headers) if header[0] == name]
    if not places:
        headers.append((name, value))
        return
    headers[places[0]] = (name, value)
    for index in reversed(places[1:]):
        del headers[index]
