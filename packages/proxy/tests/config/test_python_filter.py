"""The configuration of filters in Python: fields, refusals with their path, and where filters are found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from xds.type.v3.typed_struct_pb2 import TypedStruct

from isthmus_proxy.config.bootstrap import load as load_bootstrap
from isthmus_proxy.config.http_filters.python import compile_python, compile_python_per_route
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.extension import HttpFilter
from isthmus_proxy.http.filters.python.config import Limits, PythonFilterConfig, PythonRouteConfig
from isthmus_proxy.http.filters.python.loading import load_filter


class Known(HttpFilter[int]):
    """Wants a number."""

    @classmethod
    def parse_config(cls, values: Mapping[str, Any]) -> int:
        if "n" not in values:
            raise ValueError("n: is required")
        return int(values["n"])


class Strict(HttpFilter[None]):
    """Names the field itself."""

    @classmethod
    def parse_config(cls, values: Mapping[str, Any]) -> None:
        raise ConfigError("deep.field", "1", "must be 2")


def load(name: str, path: str) -> type[HttpFilter[Any]]:
    """What is installed in these tests."""
    return {"known": Known, "strict": Strict}[name]


def struct(**values: Any) -> Any:
    return ParseDict({"type_url": "x/isthmus.filters.http.python", "value": values}, TypedStruct())


def test_all_fields() -> None:
    assert compile_python(struct(filter="known", config={"n": 3}), "p", load) == PythonFilterConfig("known", Known, 3)
    fields = {
        "timeout": "0.25s",
        "slow": "0.002s",
        "demote_after": 0,
        "threads": True,
        "max_threads": 7,
        "max_active": 5,
        "error_policy": "FAIL_OPEN",
        "buffer_request_bytes": 10,
        "buffer_response_bytes": 20,
    }
    compiled = compile_python(struct(filter="known", config={"n": 3}, **fields), "p", load)
    assert compiled.limits == Limits(0.25, 0.002, 0, 7, 5, True, 10, 20)
    assert compile_python_per_route(struct(filter="known", config={"n": 4}), "p", load) == PythonRouteConfig("known", 4)


@pytest.mark.parametrize(
    ("values", "path", "reason"),
    [
        ({}, "p.value.filter", "is required"),
        ({"filter": 1}, "p.value.filter", "is required"),
        ({"filter": "known", "nope": 1}, "p.value.nope", "is no field"),
        ({"filter": "known", "config": 1}, "p.value.config", "must be a mapping"),
        ({"filter": "known"}, "p.value.config", "n: is required"),
        ({"filter": "known", "config": {"n": []}}, "p.value.config", "TypeError"),
        ({"filter": "strict"}, "p.value.config.deep.field", "must be 2"),
        ({"filter": "known", "timeout": "0s"}, "p.value.timeout", "more than zero"),
        ({"filter": "known", "timeout": 1}, "p.value.timeout", "a duration"),
        ({"filter": "known", "max_active": 0}, "p.value.max_active", "from 1"),
        ({"filter": "known", "max_active": 1.5}, "p.value.max_active", "whole number"),
        ({"filter": "known", "threads": 1}, "p.value.threads", "true or false"),
        ({"filter": "known", "threads": True, "max_threads": 65}, "p.value.max_threads", "to 64"),
        ({"filter": "known", "error_policy": "open"}, "p.value.error_policy", "FAIL_CLOSED or FAIL_OPEN"),
    ],
)
def test_what_is_wrong_is_refused_by_path(values: dict[str, Any], path: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as refused:
        compile_python(struct(**values), "p", load)
    assert refused.value.path == path


def test_a_route_has_no_limits_of_its_own() -> None:
    with pytest.raises(ConfigError, match="is no field"):
        compile_python_per_route(struct(filter="known", config={"n": 1}, timeout="1s"), "p", load)


BOOTSTRAP = """
static_resources:
  listeners:
  - name: l
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: test
          route_config: {virtual_hosts: []}
          http_filters:
          - name: own
            typed_config: {"@type": type.googleapis.com/xds.type.v3.TypedStruct, type_url: TYPE, value: {filter: nobody}}
          - {name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
"""


@pytest.mark.parametrize(
    ("type_url", "reason"),
    [
        ("type.googleapis.com/isthmus.filters.http.python", "no installed package has this entry point"),
        ("type.googleapis.com/isthmus.filters.http.perl", "is no HTTP filter that is supported"),
        ("type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors", "is no HTTP filter that is supported"),
    ],
)
def test_files_name_it_as_a_typed_struct(tmp_path: Path, type_url: str, reason: str) -> None:
    path = tmp_path / "bootstrap.yaml"
    path.write_text(BOOTSTRAP.replace("TYPE", type_url))
    with pytest.raises(ConfigError, match=reason):
        load_bootstrap(path)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on sys.path with installed packages whose entry points are the test's."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def install(folder: Path, name: str, entry: str, source: str = "") -> None:
    info = folder / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[isthmus_proxy.http_filters]\n{entry}\n")
    if source:
        (folder / f"{name}.py").write_text(source)


GOOD = "from isthmus_proxy.extension import HttpFilter\nclass F(HttpFilter[dict]):\n    pass\n"


def test_filters_are_found_by_entry_point(installed: Path) -> None:
    install(installed, "good_filter", "good = good_filter:F", GOOD)
    install(installed, "broken_filter", "broken = broken_filter:F", "raise RuntimeError('no key')")
    install(installed, "no_filter", "other = pathlib:Path")
    assert load_filter("good", "p").__name__ == "F"
    for name, reason in (
        ("broken", "broken_filter:F cannot be imported: RuntimeError: no key"),
        ("other", "pathlib:Path is no isthmus_proxy.extension.HttpFilter"),
        ("missing", "installed: .*broken, good, other"),
    ):
        with pytest.raises(ConfigError, match=reason) as refused:
            load_filter(name, "p")
        assert refused.value.path == "p"


def test_two_packages_with_one_entry_point_are_refused(installed: Path) -> None:
    install(installed, "one_filter", "same = one_filter:F", GOOD)
    install(installed, "two_filter", "same = two_filter:F", GOOD)
    with pytest.raises(ConfigError, match="one_filter:F and two_filter:F"):
        load_filter("same", "p")
