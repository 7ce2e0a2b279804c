from __future__ import annotations

from collections.abc import Mapping

import pytest
from envoy.config.bootstrap.v3.bootstrap_pb2 import LayeredRuntime
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.admin.response import AdminRequest
from isthmus_proxy.admin.runtime_endpoint import endpoints
from isthmus_proxy.config.parse import fill
from isthmus_proxy.config.runtime import compile_runtime
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.runtime import MAX_KEYS, STATIC, Fraction, Layer, Runtime, RuntimeConfig, Value, parsed
from isthmus_proxy.testing import static_values


def layered(*layers: Mapping[str, object]) -> RuntimeConfig:
    proto = LayeredRuntime()
    fill(proto, {"layers": [{"name": str(index), **layer} for index, layer in enumerate(layers)]})
    return compile_runtime(proto)


def test_layers_flatten_and_the_last_wins() -> None:
    low = {"static_layer": {"a": {"b": 1, "c": "x"}, "f": {"numerator": 3, "denominator": "TEN_THOUSAND"}, "d": True}}
    runtime = Runtime(layered(low, {"static_layer": {"a.b": 2}}, {"admin_layer": {}}, {"static_layer": {"top": "7"}}))
    assert [runtime.get(key) for key in ("a.b", "a.c", "f", "d", "top", "a")] == [2, "x", (3, 10_000), True, 7, None]
    assert runtime.modify({"a.b": "5", "top": "8"})
    assert (runtime.get("a.b"), runtime.get("top")) == (5, 7)


@pytest.mark.parametrize(
    ("layers", "path"),
    [
        ([{"static_layer": {"overload": {"x": 1}}}], r"layers\[0\].static_layer.overload.x"),
        ([{"static_layer": {"a": [1]}}], r"layers\[0\].static_layer.a"),
        ([{"static_layer": {"a": {"numerator": -1}}}], r"static_layer.a"),
        ([{"static_layer": {"a": {"denominator": "X"}}}], r"static_layer.a"),
        ([{"admin_layer": {}}, {"admin_layer": {}}], r"layers\[1\].admin_layer"),
    ],
)
def test_what_is_refused(layers: list[dict[str, object]], path: str) -> None:
    with pytest.raises(ConfigError, match=path):
        layered(*layers)


@given(value=st.integers(0, 200), random=st.floats(0, 1, exclude_max=True))
def test_a_whole_number_is_a_per_cent(value: int, random: float) -> None:
    runtime = Runtime(static_values({"k": value}))
    assert runtime.admits(Fraction(0, 1_000_000, "k"), random) == (random * 100 < value)


def test_what_is_no_number_leaves_the_default() -> None:
    runtime = Runtime(static_values({"text": "x", "negative": -1, "half": 0.5, "truth": True}))
    for key in ("text", "negative", "half", "truth", "absent", ""):
        assert runtime.admits(Fraction(50, 100, key), 0.49)
        assert not runtime.admits(Fraction(50, 100, key), 0.5)
        assert runtime.integer(key, 7) == 7


@given(st.text(max_size=20))
def test_any_text_can_be_a_value(text: str) -> None:
    value = parsed(text)
    runtime = Runtime(static_values({"k": value}))
    runtime.integer("k", 1)
    runtime.admits(Fraction(1, 100, "k"), 0.5)


def test_the_admin_layer_is_bounded_and_shown() -> None:
    runtime = Runtime(static_values({"a": (1, 100)}, admin=True))
    show, modify = endpoints(runtime)
    assert modify.handle(AdminRequest("POST", "/runtime_modify", {"b": "true"})).status == 200
    assert '"final_value": "true"' in "".join(show.handle(AdminRequest("GET", "/runtime")).body)
    assert not runtime.modify({str(number): "1" for number in range(MAX_KEYS)})
    assert modify.handle(AdminRequest("POST", "/runtime_modify")).status == 400
    assert endpoints(Runtime())[1].handle(AdminRequest("POST", "/runtime_modify", {"b": "1"})).status == 503


@pytest.mark.parametrize(
    ("value", "default", "found"),
    [
        (True, False, True),
        (False, True, False),
        (2, False, True),
        (0, True, False),
        (0.5, True, True),
        ("x", False, False),
    ],
)
def test_booleans_are_truth_values_or_whole_numbers(value: Value, default: bool, found: bool) -> None:
    runtime = Runtime(RuntimeConfig((Layer("static", STATIC, {"key": value}),)))
    assert runtime.boolean("key", default) is found
    assert runtime.boolean("other", default) is default
