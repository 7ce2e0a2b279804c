"""Compiles what the bootstrap file says of stats: stats_config and stats_sinks."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from isthmus_proxy.config.extensions import unpack_as
from isthmus_proxy.config.parse import join, shown
from isthmus_proxy.config.route_match import compile_string
from isthmus_proxy.config.values import flag, required, seconds, socket_address
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.observe.stats_settings import NO_SETTINGS, Matches, StatsSettings, TagRule, remembered
from isthmus_proxy.observe.statsd import StatsdConfig
from isthmus_proxy.route.matcher import string_test

_STATSD = "envoy.config.metrics.v3.StatsdSink"
_DOG = "envoy.config.metrics.v3.DogStatsdSink"
_LABEL = re.compile(r"[^a-zA-Z0-9_]")
_MOST_RULES = 256


def compile_stats_settings(proto: Any, path: str) -> StatsSettings:
    """Compile a checked StatsConfig. Raises ConfigError."""
    settings = StatsSettings(
        _matcher(proto.stats_matcher, join(path, "stats_matcher")) if proto.HasField("stats_matcher") else None,
        tuple(
            _buckets(each, f"{join(path, 'histogram_bucket_settings')}[{index}]")
            for index, each in enumerate(proto.histogram_bucket_settings)
        ),
        tuple(_tag(each, f"{join(path, 'stats_tags')}[{index}]") for index, each in enumerate(proto.stats_tags)),
        flag(proto, "use_all_default_tags", default=True),
    )
    if len(settings.tags) > _MOST_RULES or len(settings.buckets) > _MOST_RULES:
        raise ConfigError(path, "", f"at most {_MOST_RULES} stats_tags and histogram_bucket_settings are supported")
    plain = settings.shows is None and not settings.buckets and not settings.tags and settings.default_tags
    return NO_SETTINGS if plain else settings


def _matcher(proto: Any, path: str) -> Matches:
    kind = proto.WhichOneof("stats_matcher")
    if kind == "reject_all":
        return lambda _name: not proto.reject_all
    if kind is None:
        raise ConfigError(path, "", "needs one of reject_all, exclusion_list and inclusion_list")
    patterns, place = getattr(proto, kind).patterns, f"{join(path, kind)}.patterns"
    tests = [_test(each, f"{place}[{index}]") for index, each in enumerate(patterns)]
    if not tests:
        raise ConfigError(place, "", "needs at least one pattern")
    included = kind == "inclusion_list"
    return remembered(lambda name: any(test(name) for test in tests) == included)


def _test(proto: Any, path: str) -> Matches:
    test = string_test(compile_string(proto, path))
    return lambda name: test(name.encode())


def _buckets(proto: Any, path: str) -> tuple[Matches, tuple[float, ...]]:
    bounds = tuple(proto.buckets)
    if not bounds or bounds[0] <= 0 or any(low >= high for low, high in pairwise(bounds)):
        raise ConfigError(join(path, "buckets"), shown(str(list(bounds))), "must be positive and ascending")
    return remembered(_test(proto.match, join(path, "match"))), bounds


def _tag(proto: Any, path: str) -> TagRule:
    label = _LABEL.sub("_", required(proto, "tag_name", path))
    kind = proto.WhichOneof("tag_value")
    if kind == "fixed_value":
        return TagRule(label, proto.fixed_value)
    if kind != "regex" or not proto.regex:
        raise ConfigError(
            join(path, "regex"), "", "names one of Envoy's own tags, which are cut out anyway; give a regex"
        )
    try:
        pattern = re.compile(proto.regex)
    except re.error as error:
        raise ConfigError(join(path, "regex"), shown(proto.regex), str(error)) from error
    if not pattern.groups:
        raise ConfigError(join(path, "regex"), shown(proto.regex), "needs a group: what it matches leaves the name")
    return TagRule(label, "", pattern)


def compile_stats_sinks(bootstrap: Any) -> tuple[StatsdConfig, ...]:
    """Compile the checked stats_sinks. Raises ConfigError."""
    interval = seconds(bootstrap, "stats_flush_interval", 5.0, "")
    if bootstrap.stats_sinks and interval < 0.001:
        raise ConfigError("stats_flush_interval", f"{interval:g}s", "must be at least 0.001s")
    return tuple(_sink(each, f"stats_sinks[{index}]", interval) for index, each in enumerate(bootstrap.stats_sinks))


def _sink(proto: Any, path: str, interval: float) -> StatsdConfig:
    place = join(path, "typed_config")
    config: Any = unpack_as(proto.typed_config, place, _STATSD, _DOG)
    prefix = config.prefix or "envoy"
    if config.DESCRIPTOR.full_name == _DOG:
        host, port = socket_address(config.address, join(place, "address"))
        size = config.max_bytes_per_datagram.value or 0
        return StatsdConfig(host, port, "", prefix, interval, tagged=True, datagram_bytes=size)
    if config.WhichOneof("statsd_specifier") == "tcp_cluster_name":
        return StatsdConfig("", 0, required(config, "tcp_cluster_name", place), prefix, interval)
    host, port = socket_address(config.address, join(place, "address"))
    return StatsdConfig(host, port, "", prefix, interval)
