"""What /why says of HTTP filters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from isthmus_proxy.authz.model import GrpcServer, HttpServer
from isthmus_proxy.extension import HttpFilter
from isthmus_proxy.http.filters.buffer import BufferConfig
from isthmus_proxy.http.filters.cors import CorsConfig
from isthmus_proxy.http.filters.ext_authz import ExtAuthzConfig
from isthmus_proxy.http.filters.fault import FaultAbort, FaultConfig, FaultDelay
from isthmus_proxy.http.filters.health_check import HealthCheckConfig
from isthmus_proxy.http.filters.jwt_authn import JwtConfig
from isthmus_proxy.http.filters.local_ratelimit import LocalRateLimitConfig
from isthmus_proxy.http.filters.python.config import PythonFilterConfig
from isthmus_proxy.http.filters.ratelimit import RateLimitConfig, RateLimitServer
from isthmus_proxy.http.filters.rbac import RbacConfig
from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.listener.model import DiscoveredFilterConfig, Extension, HttpFilterConfig
from isthmus_proxy.rbac.model import Action, Anything, PathIs, Policy, Rules
from isthmus_proxy.route.model import StringMatch
from isthmus_proxy.runtime import Fraction
from isthmus_proxy.why.filters import explain_filters
from isthmus_proxy.why.judges import JUDGES, Asker

ADMIN = Policy("admin", (PathIs(StringMatch("prefix", b"/admin")),), (Anything(),))


NOW = 1_700_000_000


def verdicts(
    path: bytes, *configs: Any, disabled: bool = False, extensions: Mapping[str, Extension] | None = None
) -> list[object]:
    extensions = extensions or {}
    filters = tuple(HttpFilterConfig(f"f{i}", config, disabled) for i, config in enumerate(configs))
    asker = Asker(RequestHead(b"GET", path, b"a.b", []), "10.0.0.1:1", "10.0.0.2:80", "", {}, "c", NOW)
    return [row.get("verdict") for row in explain_filters(filters, asker, None, extensions.get)]


def verdict(config: Any, path: bytes = b"/") -> str:
    (said,) = verdicts(path, config)
    return str(said)


@pytest.mark.parametrize(
    ("action", "path", "said"),
    [
        ("DENY", b"/admin/x", "refuses it: policy 'admin' applies"),
        ("DENY", b"/x", "lets it pass: no policy applies"),
        ("ALLOW", b"/admin", "lets it pass: policy 'admin' applies"),
        ("ALLOW", b"/x", "refuses it: no policy applies (403, rbac_access_denied_matched_policy[none])"),
    ],
)
def test_access_control_is_judged(action: Action, path: bytes, said: str) -> None:
    assert verdict(RbacConfig(Rules(action, (ADMIN,))), path).startswith(said)


def test_filters_that_only_add_or_count_are_named_only() -> None:
    assert verdicts(b"/", CorsConfig(), RbacConfig()) == [None, "lets everything pass"]
    assert verdicts(b"/", BufferConfig(1), disabled=True) == ["disabled here"]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            ExtAuthzConfig(HttpServer("authz", 1.0), status_on_error=503),
            "asks cluster 'authz' about every one, which alone decides; while it cannot be reached refuses them (503)",
        ),
        (
            ExtAuthzConfig(GrpcServer("authz", 1.0), allow_on_failure=True, enabled=Fraction(1, 2, "some")),
            (
                "asks cluster 'authz' about 50 % of them, unless the run-time key some says otherwise, which alone decides; "
                "while it cannot be reached lets requests pass"
            ),
        ),
        (
            RateLimitConfig(RateLimitServer("limits", 1.0), "shop"),
            "asks cluster 'limits' for the domain 'shop' if the route has rate limits; it alone decides (429)",
        ),
        (LocalRateLimitConfig("l"), "limits nothing: it has no token bucket"),
        (
            LocalRateLimitConfig("l", 429, 10, 1, 2.0, Fraction(100), Fraction(100)),
            (
                "depends on a bucket of 10 tokens, 1 more every 2 s: of requests every one takes a token; "
                "without one every one is refused (429)"
            ),
        ),
        (
            FaultConfig(FaultDelay(0.5, Fraction(10), ""), FaultAbort(Fraction(100), 503)),
            "by lot: delays 10 % of them by 0.5 s; aborts every one with status 503",
        ),
        (FaultConfig(None, FaultAbort(Fraction(1)), "other"), "leaves it alone: the conditions do not hold"),
        (HealthCheckConfig(False), "answers it: 200 or 503, as healthy as the proxy and its clusters are then"),
        (BufferConfig(5), "waits for the body, and refuses more than 5 bytes (413)"),
        (
            PythonFilterConfig("p", HttpFilter, {}),
            (
                "calls the hooks of isthmus_proxy.extension.http_filter.HttpFilter, which may do anything; "
                "they are not called for this"
            ),
        ),
    ],
)
def test_what_only_the_request_itself_would_show_is_said_to_be_so(config: Any, said: str) -> None:
    assert verdict(config) == said


def test_every_judge_is_of_a_kind_that_exists() -> None:
    kinds = {
        RbacConfig, JwtConfig, ExtAuthzConfig, RateLimitConfig, LocalRateLimitConfig, FaultConfig, HealthCheckConfig, BufferConfig,
        PythonFilterConfig,
    }  # fmt: skip
    assert set(JUDGES) == {kind.__name__.removesuffix("Config") for kind in kinds}


def test_filters_over_xds_are_judged_by_what_came() -> None:
    discovered = DiscoveredFilterConfig("f0", frozenset({"buffer"}))
    assert verdicts(b"/", discovered) == ["no configuration has come over xDS, and there is no default: 500 (NFCF)"]
    assert verdicts(b"/", discovered, disabled=True) == ["disabled here"]
    came = {"f0": Extension("buffer", BufferConfig(5))}
    expected = ["waits for the body, and refuses more than 5 bytes (413)"]
    assert verdicts(b"/", discovered, extensions=came) == expected
    other = DiscoveredFilterConfig("f0", frozenset({"other"}), BufferConfig(6))
    assert verdicts(b"/", other, extensions=came) == ["waits for the body, and refuses more than 6 bytes (413)"]
