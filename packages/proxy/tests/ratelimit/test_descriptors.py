"""Descriptors of rate limits: the compiled actions against a reading of their messages that is written down plainly."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

import pytest
from envoy.config.route.v3.route_components_pb2 import RateLimit as RateLimitProto
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.config.check import check
from isthmus_proxy.config.parse import fill
from isthmus_proxy.config.rate_limits import compile_rate_limits
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.ratelimit.descriptors import Facts, decoded_query

NAMES = ["x-a", "x-b", "x-c"]
VALUES = ["", "1", "12", "2", "a b"]
names, values, booleans = st.sampled_from(NAMES), st.sampled_from(VALUES), st.booleans()
keys = st.sampled_from(["k", "other"])
steps = st.lists(st.fixed_dictionaries({"key": st.sampled_from(["p", "q"])}), min_size=1, max_size=3)
words = st.one_of(
    st.builds(lambda text: {"exact": text}, values),
    st.builds(lambda text: {"prefix": text}, st.sampled_from(["1", "a"])),
)
conditions = st.builds(
    lambda name, word, invert: {"name": name, "string_match": word, "invert_match": invert}, names, words, booleans
)
parameters = st.one_of(
    st.builds(lambda name, word: {"name": name, "string_match": word}, names, words),
    st.builds(lambda name, present: {"name": name, "present_match": present}, names, booleans),
    st.builds(lambda name: {"name": name}, names),
)
optional_key = st.one_of(st.just({}), st.builds(lambda key: {"descriptor_key": key}, keys))
actions = st.one_of(
    st.sampled_from([{"source_cluster": {}}, {"destination_cluster": {}}, {"remote_address": {}}]),
    st.builds(
        lambda four, six: {"masked_remote_address": {"v4_prefix_mask_len": four, "v6_prefix_mask_len": six}},
        st.integers(0, 32),
        st.integers(0, 128),
    ),
    st.builds(
        lambda name, key, skip: {
            "request_headers": {"header_name": name, "descriptor_key": key, "skip_if_absent": skip}
        },
        names,
        keys,
        booleans,
    ),
    st.builds(
        lambda name, key, skip: {
            "query_parameters": {"query_parameter_name": name, "descriptor_key": key, "skip_if_absent": skip}
        },
        names,
        keys,
        booleans,
    ),
    st.builds(lambda key: {"generic_key": {"descriptor_value": "v", **key}}, optional_key),
    st.builds(
        lambda key, expect, headers: {
            "header_value_match": {"descriptor_value": "v", "expect_match": expect, "headers": headers, **key}
        },
        optional_key,
        booleans,
        st.lists(conditions, min_size=1, max_size=2),
    ),
    st.builds(
        lambda key, expect, query: {
            "query_parameter_value_match": {
                "descriptor_value": "v",
                "expect_match": expect,
                "query_parameters": query,
                **key,
            }
        },
        optional_key,
        booleans,
        st.lists(parameters, min_size=1, max_size=2),
    ),
    st.builds(
        lambda path, source, default, skip: {
            "metadata": {
                "descriptor_key": "m",
                "metadata_key": {"key": "space", "path": path},
                "source": source,
                "default_value": default,
                "skip_if_absent": skip,
            }
        },
        steps,
        st.sampled_from(["DYNAMIC", "ROUTE_ENTRY"]),
        values,
        booleans,
    ),
)
metadata = st.recursive(
    st.one_of(values, st.integers(0, 3), booleans, st.none()),
    lambda inner: st.dictionaries(st.sampled_from(["p", "q"]), inner, max_size=2),
    max_leaves=4,
)
facts = st.builds(
    lambda headers, query, remote, dynamic, route: Facts(
        RequestHead(
            b"GET",
            b"/x?" + b"&".join(f"{name}={value}".replace(" ", "%20").encode() for name, value in query),
            b"a.b",
            [(name.encode(), value.encode()) for name, value in headers],
        ),
        "edge",
        "backend",
        remote,
        dynamic,
        route,
    ),
    st.lists(st.tuples(names, values), max_size=4),
    st.lists(st.tuples(names, values), max_size=4),
    st.sampled_from(["", "10.1.2.3", "2001:db8::7", "fe80::1"]),
    st.one_of(st.none(), st.fixed_dictionaries({"space": metadata})),
    st.one_of(st.none(), st.fixed_dictionaries({"space": metadata})),
)


def rate_limit(*listed: dict[str, Any], **fields: Any) -> Any:
    proto = RateLimitProto()
    fill(proto, {"actions": list(listed), **fields})
    check(proto)
    return compile_rate_limits([proto], "rate_limits")[0]


def naive(action: dict[str, Any], facts: Facts) -> list[tuple[str, str]] | None:
    """The entries of one action, straight from its message as written."""
    ((kind, spec),) = action.items()
    headers = [(name.decode(), value.decode()) for name, value in facts.head.headers]
    path = facts.head.path.decode().replace("%20", " ")
    query: list[tuple[str, str]] = [(p.split("=")[0], p.split("=")[1]) for p in path.split("?")[1].split("&") if p]
    if kind == "source_cluster":
        return [(kind, "edge")]
    if kind == "destination_cluster":
        return [(kind, "backend")]
    if kind == "remote_address":
        return [(kind, facts.remote)] if facts.remote else None
    if kind == "masked_remote_address":
        return [(kind, masked(facts.remote, spec))] if facts.remote else None
    if kind == "generic_key":
        return [(spec.get("descriptor_key", kind), "v")]
    if kind in ("request_headers", "query_parameters"):
        wanted = spec.get("header_name") or spec["query_parameter_name"]
        found = [value for name, value in (headers if kind == "request_headers" else query) if name == wanted]
        return absent(spec) if not found else [(spec["descriptor_key"], found[0])]
    if kind == "header_value_match":
        holds = all(
            any(fits(value, each["string_match"]) for name, value in headers if name == each["name"])
            != each["invert_match"]
            if each["name"] in dict(headers)
            else False
            for each in spec["headers"]
        )
        return [(spec.get("descriptor_key", "header_match"), "v")] if holds == spec["expect_match"] else None
    if kind == "query_parameter_value_match":
        holds = all(query_fits(query, each) for each in spec["query_parameters"])
        return [(spec.get("descriptor_key", "query_match"), "v")] if holds == spec["expect_match"] else None
    return of_metadata(spec, facts)


def masked(remote: str, spec: dict[str, Any]) -> str:
    address = ipaddress.ip_address(remote)
    bits = spec["v4_prefix_mask_len"] if address.version == 4 else spec["v6_prefix_mask_len"]
    cut = address.max_prefixlen - bits
    return f"{type(address)(int(address) >> cut << cut)}/{bits}"


def absent(spec: dict[str, Any]) -> list[tuple[str, str]] | None:
    return [] if spec["skip_if_absent"] else None


def fits(value: str, word: dict[str, str]) -> bool:
    return value == word["exact"] if "exact" in word else value.startswith(word["prefix"])


def query_fits(query: list[tuple[str, str]], spec: dict[str, Any]) -> bool:
    found = [value for name, value in query if name == spec["name"]]
    if "string_match" in spec:
        return bool(found) and fits(found[0], spec["string_match"])
    wanted: bool = spec.get("present_match", True)
    return bool(found) == wanted


def of_metadata(spec: dict[str, Any], facts: Facts) -> list[tuple[str, str]] | None:
    found: Any = facts.route_metadata if spec["source"] == "ROUTE_ENTRY" else facts.dynamic_metadata
    for step in ["space", *(each["key"] for each in spec["metadata_key"]["path"])]:
        found = found.get(step) if isinstance(found, dict) else None
    value = found if isinstance(found, str) and found else spec["default_value"]
    return [("m", value)] if value else absent(spec)


@given(st.lists(actions, min_size=1, max_size=4), facts)
def test_descriptors_are_what_the_messages_say(listed: list[dict[str, Any]], facts: Facts) -> None:
    expected: list[tuple[str, str]] | None = []
    for action in listed:
        entries = naive(action, facts)
        expected = None if expected is None or entries is None else [*expected, *entries]
    found = rate_limit(*listed).descriptor(facts)
    assert (None if found is None else [(key, value.decode()) for key, value in found]) == expected


def test_a_query_is_decoded_and_its_first_values_count() -> None:
    assert decoded_query(b"/p?a%20b=1%2&a=%41+&a=2&=x&b#&c=1") == {b"a b": b"1%2", b"a": b"A+", b"": b"x", b"b": b""}
    assert decoded_query(b"/p") == decoded_query(b"/p?") == {}


@given(st.binary(max_size=30))
def test_any_path_has_a_query(path: bytes) -> None:
    assert all(b"&" not in name or b"%26" in path for name in decoded_query(path))


GENERIC = {"generic_key": {"descriptor_value": "v"}}
MATCH = {"descriptor_value": "v"}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({}, r"actions.* needs at least one action"),
        ({"actions": [{}]}, r"actions\[0\].* needs one of source_cluster, .*, metadata"),
        ({"actions": [GENERIC], "stage": 11}, r"stage.*11.* at most 10"),
        ({"actions": [GENERIC], "limit": {}}, r"limit.* is not supported"),
        ({"actions": [GENERIC], "hits_addend": {"number": 2}}, r"hits_addend.* is not supported"),
        ({"actions": [GENERIC], "apply_on_stream_done": True}, r"apply_on_stream_done.* only false"),
        ({"actions": [{"extension": {"name": "x"}}]}, r"actions\[0\]\.extension.* is not supported"),
        ({"actions": [{"dynamic_metadata": {}}]}, r"actions\[0\]\.dynamic_metadata.* is not supported"),
        ({"actions": [{"generic_key": {}}]}, r"generic_key\.descriptor_value.* is required"),
        ({"actions": [{"generic_key": {"descriptor_value": "%REQ(x)%"}}]}, r"descriptor_value.* format commands"),
        ({"actions": [{"request_headers": {"header_name": "x"}}]}, r"descriptor_key.* is required"),
        ({"actions": [{"query_parameters": {"descriptor_key": "x"}}]}, r"query_parameter_name.* is required"),
        ({"actions": [{"masked_remote_address": {"v4_prefix_mask_len": 33}}]}, r"v4_prefix_mask_len.*33.* at most 32"),
        (
            {"actions": [{"masked_remote_address": {"v6_prefix_mask_len": 129}}]},
            r"v6_prefix_mask_len.*129.* at most 128",
        ),
        ({"actions": [{"header_value_match": MATCH}]}, r"headers.* needs at least one header"),
        ({"actions": [{"query_parameter_value_match": MATCH}]}, r"query_parameters.* needs at least one parameter"),
        ({"actions": [{"metadata": {"descriptor_key": "k"}}]}, r"metadata_key\.path.* needs at least one key"),
    ],
)
def test_what_cannot_be_told_is_refused_by_name(value: dict[str, object], words: str) -> None:
    proto = RateLimitProto()
    fill(proto, value)
    with pytest.raises(ConfigError, match=re.compile(words)):  # noqa: PT012 - either of the two may find it
        check(proto, "rate_limits[0]")
        compile_rate_limits([proto], "rate_limits")


@pytest.mark.parametrize("field", [{"stage": 1}, {"disable_key": "off"}])
def test_limits_of_a_filter_have_no_stage_and_no_switch(field: dict[str, object]) -> None:
    proto = RateLimitProto()
    fill(proto, {"actions": [GENERIC], **field})
    with pytest.raises(ConfigError, match=next(iter(field))):
        compile_rate_limits([proto], "rate_limits", staged=False)
