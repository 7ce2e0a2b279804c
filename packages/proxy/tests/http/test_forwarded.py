"""The head behind the connection manager; the expected values are what a live Envoy 1.40 forwards."""

from __future__ import annotations

import ipaddress

import pytest

from isthmus_proxy.codec.http1.request import parse_request_head
from isthmus_proxy.http.authority import stripped
from isthmus_proxy.http.client_address import Vantage
from isthmus_proxy.http.forwarded import Arrival, arrival
from isthmus_proxy.http.request_overrides import overridden
from isthmus_proxy.listener.model import HttpConnectionManagerConfig, RdsReference
from isthmus_proxy.route.model import ClusterWeight, ForwardAction, RetryPolicy

HERE = Vantage(b"10.0.0.9", 8080, b"192.0.2.2")
INTERNAL = (ipaddress.ip_network("10.0.0.0/8"),)


def came(*lines: bytes, target: bytes = b"/", host: bytes = b"a.b", **options: object) -> Arrival:
    raw = b"GET %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (target, host, b"".join(line + b"\r\n" for line in lines))
    config = HttpConnectionManagerConfig("s", RdsReference("r"), **options)  # type: ignore[arg-type]
    return arrival(parse_request_head(raw), config, HERE, b"ID")


@pytest.mark.parametrize(
    ("lines", "options", "forwarded_for", "client", "internal"),
    [
        ((), {}, None, b"10.0.0.9", False),
        ((b"x-forwarded-for: 9.9.9.9",), {}, b"9.9.9.9", b"9.9.9.9", False),
        ((b"x-forwarded-for: 8.8.8.8, 9.9.9.9",), {}, b"8.8.8.8, 9.9.9.9", b"9.9.9.9", False),
        ((b"x-forwarded-for: 8.8.8.8, 9.9.9.9",), {"xff_num_trusted_hops": 1}, b"8.8.8.8, 9.9.9.9", b"8.8.8.8", False),
        ((b"x-forwarded-for: 10.0.0.1",), {"internal_ranges": INTERNAL}, b"10.0.0.1", b"10.0.0.1", True),
        ((b"x-forwarded-for: 1.1.1.1,10.0.0.1",), {"internal_ranges": INTERNAL}, b"1.1.1.1,10.0.0.1", b"10.0.0.1", False),
        ((b"x-forwarded-for: junk",), {"internal_ranges": INTERNAL}, b"junk", b"10.0.0.9", False),
        ((), {"use_remote_address": True}, b"192.0.2.2", b"10.0.0.9", False),
        ((), {"use_remote_address": True, "internal_ranges": INTERNAL}, b"192.0.2.2", b"10.0.0.9", True),
        ((b"x-forwarded-for: 1.1.1.1", b"x-forwarded-for: 2.2.2.2"), {"use_remote_address": True},
         b"1.1.1.1,2.2.2.2,192.0.2.2", b"10.0.0.9", False),
        ((b"x-forwarded-for: 1.1.1.1,2.2.2.2",), {"use_remote_address": True, "xff_num_trusted_hops": 2},
         b"1.1.1.1,2.2.2.2,192.0.2.2", b"1.1.1.1", False),
        ((b"x-forwarded-for: 1.1.1.1",), {"use_remote_address": True, "skip_xff_append": True}, b"1.1.1.1", b"10.0.0.9", False),
    ],
)  # fmt: skip
def test_who_the_client_is(
    lines: tuple[bytes, ...], options: dict[str, object], forwarded_for: bytes | None, client: bytes, internal: bool
) -> None:
    found = came(*lines, **options)  # type: ignore[arg-type]
    assert found.head.get(b"x-forwarded-for") == forwarded_for
    assert found.client.address == client
    assert found.client.internal == internal
    assert found.head.get(b"x-envoy-internal") == (b"true" if internal else None)
    edge = options.get("use_remote_address") and not internal
    assert found.head.get(b"x-envoy-external-address") == (client if edge else None)


def test_the_edge_believes_nothing_and_keeps_places() -> None:
    lines = (
        b"X-Forwarded-Proto: https", b"X-Forwarded-For: 1.1.1.1", b"X-Request-Id: mine", b"x-envoy-external-address: 5.5.5.5",
        b"x-envoy-internal: true", b"x-envoy-max-retries: 3", b"x-envoy-decorator-operation: z", b"x-forwarded-client-cert: By=x",
        b"x-envoy-original-path: /z", b"User-Agent: u",
    )  # fmt: skip
    assert came(*lines, use_remote_address=True).head.headers == [
        (b"x-forwarded-proto", b"http"),
        (b"x-forwarded-for", b"1.1.1.1,192.0.2.2"),
        (b"x-request-id", b"ID"),
        (b"x-envoy-external-address", b"10.0.0.9"),
        (b"user-agent", b"u"),
    ]
    kept = came(*lines).head
    assert kept.get(b"x-request-id") == b"mine"
    assert kept.get(b"x-envoy-original-path") == b"/z"
    assert kept.get(b"x-envoy-max-retries") is None
    assert kept.get(b"x-forwarded-client-cert") is None
    assert kept.scheme == b"https"
    assert came(*lines, forward_client_cert="ALWAYS_FORWARD_ONLY").head.get(b"x-forwarded-client-cert") == b"By=x"
    assert came(*lines, use_remote_address=True, preserve_external_request_id=True).head.get(b"x-request-id") == b"mine"


def test_scheme_port_and_via() -> None:
    head = came(b"via: 1.1 z", scheme_to_overwrite=b"https", append_x_forwarded_port=True, via=b"v").head
    assert head.scheme == b"https"
    assert head.get(b"x-forwarded-proto") == b"https"
    assert head.get(b"x-forwarded-port") == b"8080"
    assert head.get(b"via") == b"1.1 z, v"
    assert came(target=b"https://q/").head.scheme == b"https"


def test_repeated_headers_are_joined_where_envoy_joins_them() -> None:
    head = came(b"accept: 1", b"x-a: 1", b"accept: 2", b"x-a: 2", b"cookie: 1", b"cookie: 2").head
    assert head.headers[:5] == [
        (b"accept", b"1,2"), (b"x-a", b"1"), (b"x-a", b"2"), (b"cookie", b"1"), (b"cookie", b"2"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("authority", "port", "dot", "expected"),
    [
        (b"a.b:80", "any", False, b"a.b"),
        (b"a.b:80", "matching", False, b"a.b:80"),
        (b"a.b:8080", "matching", False, b"a.b"),
        (b"a.b.:80", "any", False, b"a.b."),
        (b"a.b.:80", "any", True, b"a.b"),
        (b"a.b.:80", "", True, b"a.b:80"),
        (b"[::1]:80", "any", False, b"[::1]"),
        (b"[::1]", "any", True, b"[::1]"),
        (b"a.b:", "any", False, b"a.b:"),
        (b"a.b:x", "any", False, b"a.b:x"),
        (b"a..", "", True, b"a."),
        (b".", "", True, b""),
    ],
)
def test_authorities(authority: bytes, port: str, dot: bool, expected: bytes) -> None:
    assert stripped(authority, port=port, local_port=8080, trailing_dot=dot) == expected


def test_an_internal_client_steers_time_outs_and_retries() -> None:
    action = ForwardAction((ClusterWeight("c"),), 1, retry_policy=RetryPolicy(frozenset({"5xx"}), num_retries=3))
    head = came(
        b"x-forwarded-for: 10.1.1.1", b"x-envoy-upstream-rq-timeout-ms: 250", b"x-envoy-max-retries: 7", b"x-envoy-retry-on: reset, x",
        b"x-envoy-retriable-status-codes: 418,y", b"x-envoy-upstream-rq-per-try-timeout-ms: 100", b"x-envoy-ip-tags: t",
        internal_ranges=INTERNAL,
    ).head  # fmt: skip
    changed = overridden(action, head)
    assert changed.timeout == 0.25
    assert changed.retry_policy == RetryPolicy(
        frozenset({"5xx", "reset"}), num_retries=7, per_try_timeout=0.1, retriable_status_codes=frozenset({418})
    )
    assert [name for name, _ in head.headers if name.startswith(b"x-envoy-")] == [
        b"x-envoy-ip-tags",
        b"x-envoy-internal",
    ]
    assert overridden(action, head) is action
    junk = came(b"x-forwarded-for: 10.1.1.1", b"x-envoy-upstream-rq-timeout-ms: 1e3", internal_ranges=INTERNAL).head
    assert overridden(ForwardAction((ClusterWeight("c"),), 1), junk) == ForwardAction((ClusterWeight("c"),), 1)
