"""The table of supported fields describes real messages, and everything that it lets through has a row."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pool

from isthmus_proxy.config.extensions import _MODULES, message_class
from isthmus_proxy.config.rules import MessageRules
from isthmus_proxy.config.supported import SUPPORTED


@pytest.fixture(scope="module", autouse=True)
def every_extension() -> None:
    for name in _MODULES:
        message_class(f"type.googleapis.com/{name}", "")
    import envoy.config.bootstrap.v3.bootstrap_pb2  # noqa: F401


def descriptor(name: str) -> Any:
    return descriptor_pool.Default().FindMessageTypeByName(name)


@pytest.mark.parametrize("name", SUPPORTED)
def test_the_fields_of_a_row_exist_and_are_named_once(name: str) -> None:
    rules: MessageRules = SUPPORTED[name]
    fields = descriptor(name).fields_by_name
    assert rules.names() <= set(fields)
    groups = (rules.supported, rules.only, rules.no_effect, rules.elsewhere)
    assert sum(map(len, groups)) == len(rules.names())


@pytest.mark.parametrize("name", SUPPORTED)
def test_what_a_row_lets_through_has_a_row_itself(name: str) -> None:
    fields = descriptor(name).fields_by_name
    for field in SUPPORTED[name].supported:
        inner = fields[field].message_type
        if inner is not None and inner.GetOptions().map_entry:
            inner = inner.fields_by_name["value"].message_type
        if inner is not None and not inner.full_name.startswith("google.protobuf."):
            assert inner.full_name in SUPPORTED


@pytest.mark.parametrize("name", SUPPORTED)
def test_restricted_values_are_real_ones(name: str) -> None:
    fields = descriptor(name).fields_by_name
    for field, values in SUPPORTED[name].only.items():
        enum = fields[field].enum_type
        if enum is not None:
            assert set(values) <= set(enum.values_by_name)
        else:
            assert all(isinstance(value, bool) for value in values)


def test_every_extension_that_can_be_parsed_has_a_row_or_no_effect() -> None:
    resolvers = {name for name in _MODULES if ".dns_resolver." in name}
    assert set(_MODULES) - resolvers <= set(SUPPORTED)
