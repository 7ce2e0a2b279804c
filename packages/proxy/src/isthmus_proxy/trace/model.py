"""Configuration of tracing (envoy.config.trace.v3 and HttpConnectionManager.Tracing), the supported part."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus_proxy.runtime import Fraction

ALL_CLIENT = Fraction(10_000, 10_000, "tracing.client_enabled")
ALL_RANDOM = Fraction(10_000, 10_000, "tracing.random_sampling")
ALL_OVERALL = Fraction(10_000, 10_000, "tracing.global_enabled")


@dataclass(frozen=True, slots=True)
class Collector:
    """Where spans go. ``kind``: otlp_http, otlp_grpc or zipkin. ``timeout`` of one report in seconds.

    ``max_spans`` is how many wait at most; more are dropped and counted. ``headers`` are added to every report.
    """

    kind: str
    cluster: str
    authority: str
    path: str
    timeout: float = 5.0
    max_spans: int = 1024
    headers: tuple[tuple[bytes, bytes], ...] = ()
    service_name: str = ""
    trace_id_128bit: bool = False
    shared_span_context: bool = True


@dataclass(frozen=True, slots=True)
class CustomTag:
    """type.tracing.v3.CustomTag: ``value``, or that of the request header ``header`` if the request has it."""

    tag: str
    value: str
    header: bytes = b""


@dataclass(frozen=True, slots=True)
class RouteTracing:
    """config.route.v3.Tracing: takes the place of what the connection manager says; its tags come in addition."""

    client_sampling: Fraction = ALL_CLIENT
    random_sampling: Fraction = ALL_RANDOM
    overall_sampling: Fraction = ALL_OVERALL
    custom_tags: tuple[CustomTag, ...] = ()


@dataclass(frozen=True, slots=True)
class TracingConfig:
    """HttpConnectionManager.Tracing. ``egress``: the listener's traffic_direction is OUTBOUND."""

    collector: Collector
    client_sampling: Fraction = ALL_CLIENT
    random_sampling: Fraction = ALL_RANDOM
    overall_sampling: Fraction = ALL_OVERALL
    max_path_tag_length: int = 256
    custom_tags: tuple[CustomTag, ...] = ()
    egress: bool = False
