"""What the suite ``filters`` switches on, one by one: HTTP filters, and what is observed of requests."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.http_plan import FILE_LOG, HttpPlan, cluster, envoy_bootstrap

Json = dict[str, Any]
Change = Callable[[Json, HttpPlan], None]

_HTTP = "type.googleapis.com/envoy.extensions.filters.http"
_COMPRESSION = "type.googleapis.com/envoy.extensions.compression"
PYTHON_FILTERS = Path(__file__).parent / "python_filters"
TOKEN_HEADERS = {"accept-encoding": "gzip", "origin": "http://good.example"}
"""Headers of all requests of the suite, for the filters that look for them."""

_ALWAYS = {"default_value": {"numerator": 100}}
_ANY = {"permissions": [{"header": {"name": "x-none", "present_match": True}}], "principals": [{"any": True}]}
_BUCKET = {"max_tokens": 1_000_000_000, "tokens_per_fill": 1_000_000_000, "fill_interval": "1s"}
_GZIP = {"name": "gzip", "typed_config": {"@type": f"{_COMPRESSION}.gzip.compressor.v3.Gzip"}}
_GUNZIP = {"name": "gzip", "typed_config": {"@type": f"{_COMPRESSION}.gzip.decompressor.v3.Gzip"}}
_OWN = {"header": {"key": "x-bench", "value": "1"}}
_SECRET = b"secret-secret-secret-secret-secret"
_LIMITER = "limiter"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


_JWKS = f'{{"keys":[{{"kty":"oct","kid":"k","alg":"HS256","k":"{_base64(_SECRET)}"}}]}}'


def _token() -> str:
    header, claims = b'{"alg":"HS256","kid":"k"}', b'{"iss":"bench","sub":"load","exp":4102444800}'
    signed = f"{_base64(header)}.{_base64(claims)}"
    return f"{signed}.{_base64(hmac.digest(_SECRET, signed.encode(), hashlib.sha256))}"


def _jwt(requires: Json) -> Json:
    return _typed(
        "jwt_authn.v3.JwtAuthentication",
        providers={"p": {"issuer": "bench", "local_jwks": {"inline_string": _JWKS}}},
        rules=[{"match": {"prefix": "/"}, "requires": requires}],
    )


def _typed(name: str, **fields: Any) -> Json:
    return {"@type": f"{_HTTP}.{name}", **fields}


def _python(entry: str, **fields: Any) -> Json:
    return {
        "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
        "type_url": "type.googleapis.com/isthmus.filters.http.python",
        "value": {"filter": entry, **fields},
    }


FILTERS: dict[str, Json] = {
    "bandwidth_limit-not-reached": _typed(
        "bandwidth_limit.v3.BandwidthLimit",
        stat_prefix="bench",
        enable_mode="REQUEST_AND_RESPONSE",
        limit_kbps=100_000_000,
    ),
    "buffer": _typed("buffer.v3.Buffer", max_request_bytes=10_000),
    "compressor-not-compressing": _typed(
        "compressor.v3.Compressor",
        compressor_library=_GZIP,
        response_direction_config={"common_config": {"content_type": ["application/none"]}},
    ),
    "compressor-gzip": _typed(
        "compressor.v3.Compressor",
        compressor_library=_GZIP,
        response_direction_config={
            "common_config": {"content_type": ["application/octet-stream", "text/plain", "text/html"]}
        },
    ),
    "cors": _typed("cors.v3.Cors"),
    "decompressor": _typed("decompressor.v3.Decompressor", decompressor_library=_GUNZIP),
    "ext_authz-http": _typed(
        "ext_authz.v3.ExtAuthz",
        http_service={"server_uri": {"uri": "http://origin", "cluster": "origin", "timeout": "5s"}},
    ),
    "fault-not-injecting": _typed("fault.v3.HTTPFault", abort={"http_status": 503, "percentage": {"numerator": 0}}),
    "header_mutation": _typed(
        "header_mutation.v3.HeaderMutation",
        mutations={"request_mutations": [{"append": _OWN}], "response_mutations": [{"append": _OWN}]},
    ),
    "header_to_metadata": _typed(
        "header_to_metadata.v3.Config",
        request_rules=[{"header": "origin", "on_header_present": {"key": "origin"}}],
    ),
    "health_check-other-path": _typed(
        "health_check.v3.HealthCheck",
        pass_through_mode=False,
        headers=[{"name": ":path", "string_match": {"exact": "/health"}}],
    ),
    "jwt_authn-no-token": _jwt({"allow_missing": {}}),
    "jwt_authn-token": _jwt({"provider_name": "p"}),
    "local_ratelimit": _typed(
        "local_ratelimit.v3.LocalRateLimit",
        stat_prefix="bench",
        token_bucket=_BUCKET,
        filter_enabled=_ALWAYS,
        filter_enforced=_ALWAYS,
    ),
    "ratelimit-grpc": _typed(
        "ratelimit.v3.RateLimit",
        domain="bench",
        timeout="5s",
        failure_mode_deny=True,
        rate_limit_service={
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": _LIMITER}, "timeout": "5s"},
        },
    ),
    "rbac": _typed("rbac.v3.RBAC", rules={"action": "DENY", "policies": {"none": _ANY}}),
    "python-one-hook": _python("bench-one"),
    "python-four-hooks": _python("bench-four"),
    "python-async-hook": _python("bench-async"),
    "python-hook-in-thread": _python("bench-one", threads=True),
}
"""By name of the configuration, the filter before the router."""
PER_ROUTE = {"cors": _typed("cors.v3.CorsPolicy", allow_origin_string_match=[{"exact": "http://good.example"}])}
"""By name, what the virtual host says of it."""


def _manager(bootstrap: Json) -> Json:
    listener = bootstrap["static_resources"]["listeners"][0]
    manager: Json = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return manager


def _log(bootstrap: Json, plan: HttpPlan) -> None:
    log = {"name": "file", "typed_config": {"@type": FILE_LOG, "path": str(plan.access_log)}}
    _manager(bootstrap)["access_log"] = [log]


def _no_stats(bootstrap: Json, _plan: HttpPlan) -> None:
    bootstrap["stats_config"] = {"stats_matcher": {"reject_all": True}}


def _tracing(per_cent: float) -> Change:
    def change(bootstrap: Json, _plan: HttpPlan) -> None:
        zipkin = {
            "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
            "collector_cluster": "origin",
            "collector_endpoint": "/100b",
            "collector_endpoint_version": "HTTP_JSON",
        }
        _manager(bootstrap)["tracing"] = {
            "random_sampling": {"value": per_cent},
            "provider": {"name": "zipkin", "typed_config": zipkin},
        }

    return change


OBSERVED: dict[str, Change] = {
    "stats-off": _no_stats,
    "access-log": _log,
    "tracing-none-sampled": _tracing(0.0),
    "tracing-all-sampled": _tracing(100.0),
}
"""By name, what is changed beside filters."""

CONFIGURATIONS = ("router-alone", *FILTERS, *OBSERVED)


def headers_of(name: str) -> dict[str, str]:
    """What all requests to a configuration carry."""
    token = {"authorization": f"Bearer {_token()}"} if name == "jwt_authn-token" else {}
    return TOKEN_HEADERS | token


def asks_limiter(name: str) -> bool:
    """Whether a configuration asks a rate limit service."""
    return name.startswith("ratelimit")


def _limited(bootstrap: Json, port: int) -> None:
    """Let all requests be asked for at the rate limit service at ``port``."""
    bootstrap["static_resources"]["clusters"].append(cluster(_LIMITER, port, http2=True))
    host = _manager(bootstrap)["route_config"]["virtual_hosts"][0]
    host["rate_limits"] = [{"actions": [{"generic_key": {"descriptor_value": "bench"}}]}]


def bootstrap_of(name: str, plan: HttpPlan, limiter_port: int = 1) -> Json:
    """The bootstrap of a configuration; ``limiter_port`` is the rate limit service's, for one that asks it."""
    bootstrap: Json = envoy_bootstrap(plan)
    if name in FILTERS:
        manager = _manager(bootstrap)
        manager["http_filters"].insert(0, {"name": name, "typed_config": FILTERS[name]})
        if name in PER_ROUTE:
            host = manager["route_config"]["virtual_hosts"][0]
            host["typed_per_filter_config"] = {name: PER_ROUTE[name]}
        if asks_limiter(name):
            _limited(bootstrap, limiter_port)
    elif name in OBSERVED:
        OBSERVED[name](bootstrap, plan)
    return bootstrap


def install_python_filters(folder: Path) -> list[Path]:
    """Write what pip leaves of an installed package; the folders that a process needs on its path."""
    info = folder / "bench_filters-1.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-filters\nVersion: 1\n")
    points = {"bench-one": "OneHook", "bench-four": "FourHooks", "bench-async": "OneAsyncHook"}
    lines = "".join(f"{name} = bench_filters:{kind}\n" for name, kind in points.items())
    (info / "entry_points.txt").write_text(f"[isthmus_proxy.http_filters]\n{lines}")
    return [folder, PYTHON_FILTERS]
