"""Follows a redirect of an upstream inside the proxy: where the request goes instead, or why the client has to follow itself. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from isthmus_proxy.codec.http1.response import ParsedResponse
from isthmus_proxy.http.message import RequestHead, set_header
from isthmus_proxy.route.model import Decision, ForwardAction, InternalRedirectPolicy

ORIGINAL_URL = b"x-envoy-original-url"
_SEE_OTHER = 303
_SAFE = (b"GET", b"HEAD")


@dataclass(frozen=True, slots=True)
class Trail:
    """How a request came here: the number of redirects followed, and for each the route left and the route entered."""

    count: int = 0
    steps: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Moved:
    """The request as it goes on, and what its new route says. With ``bodyless`` its body stays behind (303)."""

    head: RequestHead
    decision: Decision
    trail: Trail
    bodyless: bool

    @property
    def cluster(self) -> str:
        """The only cluster to which the new route forwards; empty where there is none, or a choice."""
        action = self.decision.route.action
        return action.clusters[0].cluster if isinstance(action, ForwardAction) and len(action.clusters) == 1 else ""


Decide = Callable[[RequestHead], Decision | None]


def follow(
    policy: InternalRedirectPolicy,
    response: ParsedResponse,
    sent: RequestHead,
    route: str,
    trail: Trail,
    decide: Decide,
) -> Moved | str:
    """Where ``response`` to the request ``sent`` on ``route`` leads, or the end of the name of the stat that counts why not.

    The checks and their order are Envoy's.
    """
    place = _absolute(next((value for name, value in response.headers if name == b"location"), b""))
    if place is None:
        return "bad_location"
    scheme, authority, path = place
    secure, wants_secure = sent.scheme == b"https", scheme == b"https"
    if secure != wants_secure and not policy.allow_cross_scheme:
        return "unsafe_scheme"
    if trail.count >= policy.max_redirects:
        return "too_many_redirects"
    head = RequestHead(sent.method, path, authority, list(sent.headers), sent.version)
    head.scheme = scheme
    _copy(policy, response, head)
    decision = decide(head)
    if decision is None:
        return "no_route"
    step = route, decision.route.name
    if not _accepted(policy, step, trail, safe_scheme=secure or not wants_secure):
        return "predicate"
    bodyless = response.status == _SEE_OTHER and sent.method not in _SAFE
    if bodyless:
        head.method = b"GET"
        head.headers = [field for field in head.headers if field[0] not in (b"content-length", b"transfer-encoding")]
    set_header(head.headers, ORIGINAL_URL, sent.scheme + b"://" + sent.authority + sent.path)
    return Moved(head, decision, Trail(trail.count + 1, trail.steps | {step}), bodyless)


def _absolute(location: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Scheme, authority and path of an absolute URL of HTTP, its fragment left out; None for anything else."""
    scheme, found, rest = location.partition(b"://")
    scheme = scheme.lower()
    if not found or scheme not in (b"http", b"https"):
        return None
    rest = rest.partition(b"#")[0]
    end = min(place for place in (rest.find(b"/"), rest.find(b"?"), len(rest)) if place >= 0)
    authority, path = rest[:end], rest[end:]
    if not authority or b"@" in authority or b" " in rest:
        return None
    return scheme, authority, path if path.startswith(b"/") else b"/" + path


def _copy(policy: InternalRedirectPolicy, response: ParsedResponse, head: RequestHead) -> None:
    for name in policy.headers_to_copy:
        head.headers = [field for field in head.headers if field[0] != name]
        head.headers += [field for field in response.headers if field[0] == name]


def _accepted(policy: InternalRedirectPolicy, step: tuple[str, str], trail: Trail, *, safe_scheme: bool) -> bool:
    if any(step[1] not in allowed for allowed in policy.allowed_routes):
        return False
    if policy.refuse_previous_routes and step in trail.steps:
        return False
    return safe_scheme or not policy.refuse_downgrade_of_trust
