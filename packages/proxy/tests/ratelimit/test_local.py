"""Local rate limits: buckets of descriptors beside the filter's own, and how they are configured."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit as Message
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.config.check import check
from isthmus_proxy.config.http_filters.local_ratelimit import compile_local_ratelimit
from isthmus_proxy.config.parse import fill
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.filters.local_ratelimit import Limit, LocalDescriptor, LocalRateLimitConfig
from isthmus_proxy.http.filters.stream_filter import FilterContext
from isthmus_proxy.observe.stats import StatsStore
from isthmus_proxy.ratelimit.descriptors import Descriptor, GenericKey, RateLimit

ONE: Descriptor = (("user", b"one"),)
TWO: Descriptor = (("user", b"two"),)


class Context:
    """As much of a filter's context as a limit needs."""

    def __init__(self) -> None:
        self.store = StatsStore()
        self.scope = self.store.scope


def limit(*descriptors: LocalDescriptor, tokens: int = 0, always: bool = True) -> Limit:
    config = LocalRateLimitConfig("l", max_tokens=tokens, fill_interval=3600.0, descriptors=descriptors, always=always)
    context: Any = Context()
    made: FilterContext = context
    return Limit(config, made)


def bucket(entries: Descriptor, tokens: int, per_hour: int = 1) -> LocalDescriptor:
    return LocalDescriptor(entries, tokens, per_hour, 3600.0)


def taken(limited: Limit, *asked: Descriptor, times: int = 9) -> int:
    return sum(limited.take(1.0, asked) for _ in range(times))


def test_each_descriptor_has_a_bucket_of_its_own() -> None:
    limited = limit(bucket(ONE, 1), bucket(TWO, 2))
    assert (taken(limited, ONE), taken(limited, TWO)) == (1, 2)
    assert taken(limited, (("user", b"three"),)) == 9


def test_the_own_bucket_counts_unless_it_is_said_not_to() -> None:
    assert taken(limit(bucket(ONE, 5), tokens=3), ONE) == 3
    sparing = limit(bucket(ONE, 5), tokens=3, always=False)
    assert taken(sparing, ONE) == 5
    assert taken(sparing, TWO) == 3


@given(st.permutations([bucket(ONE, 1, 1), bucket(TWO, 4, 9)]))
def test_what_the_slowest_refuses_costs_the_others_nothing(descriptors: list[LocalDescriptor]) -> None:
    limited = limit(*descriptors)
    assert taken(limited, ONE, TWO) == 1
    assert taken(limited, TWO) == 3


TOKENS = {"max_tokens": 2, "fill_interval": "1s"}
DESCRIPTOR = {"entries": [{"key": "user", "value": "one"}], "token_bucket": TOKENS}


def compiled(**fields: object) -> LocalRateLimitConfig:
    message = Message()
    fill(message, {"stat_prefix": "l", **fields})
    check(message)
    return compile_local_ratelimit(message, "")


def test_descriptors_are_compiled() -> None:
    limits = [{"actions": [{"generic_key": {"descriptor_value": "v"}}]}]
    config = compiled(
        descriptors=[DESCRIPTOR],
        rate_limits=limits,
        stage=2,
        vh_rate_limits="IGNORE",
        always_consume_default_token_bucket=False,
    )
    assert config.descriptors == (LocalDescriptor(ONE, 2, 1, 1.0),)
    assert config.limits == (RateLimit((GenericKey(b"v"),)),)
    assert (config.stage, config.host_limits, config.always) == (2, "IGNORE", False)


@pytest.mark.parametrize(
    ("fields", "path", "reason"),
    [
        ({"descriptors": [{**DESCRIPTOR, "entries": []}]}, "descriptors[0].entries", "at least one"),
        ({"descriptors": [{"entries": DESCRIPTOR["entries"]}]}, "descriptors[0].token_bucket", "required"),
        ({"descriptors": [DESCRIPTOR, DESCRIPTOR]}, "descriptors[1]", "there already"),
        ({"descriptors": [{**DESCRIPTOR, "entries": [{"key": "k"}]}]}, "entries[0].value", "not supported"),
        ({"stage": 11}, "stage", "at most 10"),
        ({"local_rate_limit_per_downstream_connection": True}, "local_rate_limit_per_downstream_connection", "only"),
        ({"enable_x_ratelimit_headers": "DRAFT_VERSION_03"}, "enable_x_ratelimit_headers", "only OFF"),
    ],
)
def test_what_cannot_be_is_refused_by_path(fields: dict[str, object], path: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compiled(**fields)
    assert path in caught.value.path
    assert reason in caught.value.reason
