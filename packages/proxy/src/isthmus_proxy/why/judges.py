"""What each kind of HTTP filter would do with a request, in a sentence that says as well what cannot be told beforehand.

Nothing is sent, no token of a bucket is taken and no hook is called: where those decide, that is what is said. Modules of filters
are loaded where they are configured, so they are here by the time that anybody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.runtime import Fraction

if TYPE_CHECKING:
    from isthmus_proxy.http.filters.buffer import BufferConfig
    from isthmus_proxy.http.filters.ext_authz import ExtAuthzConfig
    from isthmus_proxy.http.filters.fault import FaultConfig
    from isthmus_proxy.http.filters.health_check import HealthCheckConfig
    from isthmus_proxy.http.filters.jwt_authn import JwtConfig, JwtPerRoute
    from isthmus_proxy.http.filters.local_ratelimit import LocalRateLimitConfig
    from isthmus_proxy.http.filters.python.config import PythonFilterConfig
    from isthmus_proxy.http.filters.ratelimit import RateLimitConfig
    from isthmus_proxy.http.filters.rbac import RbacConfig
    from isthmus_proxy.jwt.model import Provider, Requirement
    from isthmus_proxy.jwt.token import Token
    from isthmus_proxy.rbac.engine import PeerNames


class Asker:
    """Who asks, as access control sees it (``rbac.engine.Subject``): nobody has shown a certificate or said anything of the request.

    ``cluster`` is where the request would go, empty if that is open; ``time`` is in seconds since 1970.
    """

    def __init__(
        self,
        head: RequestHead,
        source: str,
        destination: str,
        server_name: str,
        route_metadata: Mapping[str, Mapping[str, Any]],
        cluster: str = "",
        time: float = 0.0,
    ) -> None:
        self.head = head
        self.source = self.remote = self.direct_remote = source
        self.destination = destination
        self.server_name = server_name
        self.peer: PeerNames | None = None
        self.dynamic_metadata: Mapping[str, Mapping[str, object]] = {}
        self.filter_state: Mapping[str, str] = {}
        self.route_metadata = route_metadata
        self.cluster = cluster
        self.time = time


def _share(fraction: Fraction) -> str:
    """How many requests, in words."""
    key = f", unless the run-time key {fraction.runtime_key} says otherwise" if fraction.runtime_key else ""
    share = 100.0 * fraction.numerator / fraction.denominator
    return ("every one" if share >= 100.0 else "none" if not share else f"{share:g} % of them") + key


def access(config: RbacConfig, _own: RbacConfig, asker: Asker) -> str:
    """rbac."""
    from isthmus_proxy.http.filters.rbac import denial  # noqa: PLC0415 - see the module
    from isthmus_proxy.rbac.engine import Engine  # noqa: PLC0415 - see the module

    if config.rules is None:
        return "lets everything pass"
    verdict = Engine(config.rules).decide(asker)
    policy = f"policy {verdict.policy!r} applies" if verdict.policy else "no policy applies"
    if verdict.allowed:
        return f"lets it pass: {policy}"
    return f"refuses it: {policy} (403, {denial(verdict.policy)}), unless a certificate or metadata decides otherwise"


def tokens(config: JwtConfig | JwtPerRoute, own: JwtConfig, asker: Asker) -> str:
    """jwt_authn. Signatures are checked with key sets that are configured; those that would be fetched are not."""
    from isthmus_proxy.http.filters.jwt_authn import JwtConfig, is_preflight, matching_rule  # noqa: PLC0415 - as above

    if own.bypass_cors_preflight and is_preflight(asker.head):
        return "lets it pass: it is a CORS preflight"
    if isinstance(config, JwtConfig):
        rule = matching_rule(config, asker.head)
        if rule is None and config.filter_state_key:
            return f"lets it pass, unless a filter sets {config.filter_state_key!r}: no rule applies"
        requirement = None if rule is None else rule.requirement
    else:
        requirement = own.requirements.get(config.requirement_name)
        if config.requirement_name and requirement is None:
            return (
                f"refuses it: the route names the requirement {config.requirement_name!r}, which does not exist (403)"
            )
    return "lets it pass: nothing is required of it" if requirement is None else _authenticated(requirement, asker)


def _authenticated(requirement: Requirement, asker: Asker) -> str:
    from isthmus_proxy.jwt import status  # noqa: PLC0415 - as above
    from isthmus_proxy.jwt.authenticate import Authentication, KeysNeededError, Read, Verifier  # noqa: PLC0415 - as above
    from isthmus_proxy.jwt.token import parse  # noqa: PLC0415 - as above

    def read(_provider: Provider | None, text: bytes) -> Read:
        return Read(parse(text), verified=False)

    verifier = Verifier(read, _verified, int(asker.time))
    try:
        found = Authentication(asker.head.headers, asker.head.path, verifier).meets(requirement)
    except KeysNeededError as needed:
        name = needed.provider.name
        return f"depends on the signature of its token, whose claims are in order: the keys of provider {name!r} are fetched"
    if found == status.OK:
        return "lets it pass: it has what is required"
    return f"refuses it: {found} ({403 if found == status.AUDIENCE_NOT_ALLOWED else 401})"


def _verified(provider: Provider, _text: bytes, token: Token) -> str:
    from isthmus_proxy.jwt import status  # noqa: PLC0415 - as above
    from isthmus_proxy.jwt.authenticate import KeysNeededError  # noqa: PLC0415 - as above
    from isthmus_proxy.jwt.jwks import parse_jwks, verify  # noqa: PLC0415 - as above

    if provider.local_jwks is None:
        raise KeysNeededError(provider)
    keys = parse_jwks(provider.local_jwks)
    return verify(token, keys) if keys else status.NO_VALID_KEYS


def authorization(config: ExtAuthzConfig, own: ExtAuthzConfig, _asker: Asker) -> str:
    """ext_authz: only the service can tell."""
    if getattr(config, "disabled", False):
        return "disabled here"
    failure = "lets requests pass" if own.allow_on_failure else f"refuses them ({own.status_on_error})"
    asked = _share(own.enabled)
    return (
        f"asks cluster {own.server.cluster!r} about {asked}, which alone decides; while it cannot be reached {failure}"
    )


def rate_limit(config: RateLimitConfig, own: RateLimitConfig, _asker: Asker) -> str:
    """ratelimit: only the service can tell."""
    del config
    cluster = own.server.cluster
    return f"asks cluster {cluster!r} for the domain {own.domain!r} if the route has rate limits; it alone decides ({own.status})"


def local_rate_limit(config: LocalRateLimitConfig, _own: LocalRateLimitConfig, _asker: Asker) -> str:
    """local_ratelimit: how many tokens are left is not looked at."""
    if not config.max_tokens and not config.descriptors:
        return "limits nothing: it has no token bucket"
    if config.descriptors:
        return f"depends on its buckets, of which there are {len(config.descriptors)} for descriptors ({config.status})"
    bucket = f"{config.max_tokens} tokens, {config.tokens_per_fill} more every {config.fill_interval:g} s"
    looked_at, refused = _share(config.enabled), _share(config.enforced)
    return f"depends on a bucket of {bucket}: of requests {looked_at} takes a token; without one {refused} is refused ({config.status})"


def fault(config: FaultConfig, _own: FaultConfig, asker: Asker) -> str:
    """fault: lots are drawn."""
    if not config.applies(asker.head, asker.cluster):
        return "leaves it alone: the conditions do not hold"
    said = []
    if config.delay is not None:
        seconds = config.delay.seconds
        how = "for as long as its header says" if seconds is None else f"by {seconds:g} s"
        said.append(f"delays {_share(config.delay.share)} {how}")
    if config.abort is not None:
        status = config.abort.http_status or config.abort.grpc_status
        what = "the status that its header says" if config.abort.by_header else f"status {status}"
        said.append(f"aborts {_share(config.abort.share)} with {what}")
    return f"by lot: {'; '.join(said)}" if said else "leaves it alone: nothing is configured"


def health_check(config: HealthCheckConfig, _own: HealthCheckConfig, asker: Asker) -> str:
    """health_check."""
    if not config.applies(asker.head):
        return "leaves it alone: it is no health check"
    if not config.pass_through:
        return "answers it: 200 or 503, as healthy as the proxy and its clusters are then"
    return (
        "answers it from what is remembered, if anything is" if config.cache_time else "lets it pass, as a health check"
    )


def buffer(config: BufferConfig, _own: BufferConfig, _asker: Asker) -> str:
    """buffer."""
    if not config.max_request_bytes:
        return "disabled here"
    return f"waits for the body, and refuses more than {config.max_request_bytes} bytes (413)"


def python(config: PythonFilterConfig, own: PythonFilterConfig, _asker: Asker) -> str:
    """A filter in Python: its hooks are not called to find out."""
    del config
    return f"calls the hooks of {own.kind.__module__}.{own.kind.__qualname__}, which may do anything; they are not called for this"


JUDGES: Mapping[str, Callable[[Any, Any, Asker], str]] = {
    "Rbac": access,
    "Jwt": tokens,
    "ExtAuthz": authorization,
    "RateLimit": rate_limit,
    "LocalRateLimit": local_rate_limit,
    "Fault": fault,
    "HealthCheck": health_check,
    "Buffer": buffer,
    "PythonFilter": python,
}
"""By kind, given the configuration that counts, the filter's own, and who asks. Others only add, count or rewrite."""
