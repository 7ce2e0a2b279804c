"""How a head changes between downstream and upstream: header edits, path and host rewrites (config.route.v3.RouteAction)."""

from __future__ import annotations

from isthmus_proxy.http.message import Headers, RequestHead
from isthmus_proxy.http.stream_info import StreamInfo
from isthmus_proxy.route import header_edits
from isthmus_proxy.route.model import ClusterWeight, Decision, ForwardAction, HeaderEdits, RegexRewrite, StringMatch
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

    A rewritten path is kept in ``info.original_path``. With ``show_original_path`` (no suppress_envoy_headers) what was
    replaced also goes into ``x-envoy-original-path`` and ``x-envoy-original-host``.
    """
    if target.request_headers or decision.request_edits:
        _apply_levels(decision, decision.request_edits, target.request_headers, request.headers, info)
    action = decision.route.action
    if not isinstance(action, ForwardAction):
        return
    if action.host_rewrite is not None:
        append = action.append_forwarded_host
        set_authority(request, action.host_rewrite, append_forwarded_host=append, show_original=show_original_path)
    if action.prefix_rewrite is not None or action.regex_rewrite is not None:
        path = new_path(decision.route.match.path, action.prefix_rewrite, action.regex_rewrite, request.path)
        info.original_path = request.path
        if show_original_path:
            _set(request.headers, b"x-envoy-original-path", request.path)
        request.path = path


def apply_response(decision: Decision, target: ClusterWeight | None, headers: Headers, info: StreamInfo) -> None:
    """Change the headers of a response in place; ``target`` is None for redirects and direct responses."""
    own = None if target is None else target.response_headers
    if own or decision.response_edits:
        _apply_levels(decision, decision.response_edits, own, headers, info)


def _apply_levels(
    decision: Decision,
    levels: tuple[HeaderEdits, ...],
    own: HeaderEdits | None,
    headers: Headers,
    info: StreamInfo,
) -> None:
    last = decision.configuration.most_specific_header_mutations_wins
    if own and not last:
        header_edits.apply(own, headers, info)
    for edits in levels:
        header_edits.apply(edits, headers, info)
    if own and last:
        header_edits.apply(own, headers, info)


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
