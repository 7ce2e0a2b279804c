"""Envoy resources written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.snapshot.resource_type import EXTENSION_CONFIG, RUNTIME
from isthmus_controlplane.supplement.resource_files import read_resources

LAYER = """
nodes: {kinds: [sidecar], namespaces: [shop]}
resources:
- "@type": type.googleapis.com/envoy.service.runtime.v3.Runtime
  name: flags
  layer: {re2.max_program_size.error_level: 500, deep: {text: x}}
"""
FILTER = """
resources:
- "@type": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig
  name: lua
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
    default_source_code: {inline_string: "function envoy_on_request(h) end"}
"""


def test_files_give_their_resources_to_the_nodes_they_name(tmp_path: Path) -> None:
    (tmp_path / "flags.yaml").write_text(LAYER)
    (tmp_path / "filter.yaml").write_text(FILTER)
    (tmp_path / ".hidden.yaml").write_text("nonsense")
    found, problems = read_resources(tmp_path, {})
    assert problems == ()
    assert list(found) == ["filter.yaml", "flags.yaml"]
    (layer,) = found["flags.yaml"]
    message: Any = layer.message
    assert (layer.type_url, layer.name, message.layer["deep"]["text"]) == (RUNTIME, "flags", "x")
    assert str(layer.key) == f"File {tmp_path}/flags.yaml resources[0]"
    assert layer.nodes.matches(Scope(namespace="shop"))
    assert not layer.nodes.matches(Scope())
    assert not layer.nodes.matches(Scope(kind="gateway", namespace="shop"))
    (extension,) = found["filter.yaml"]
    assert (extension.type_url, extension.name) == (EXTENSION_CONFIG, "lua")
    assert extension.nodes.matches(Scope(kind="gateway"))
    assert not extension.nodes.matches(Scope(kind="grpc"))
    again, _ = read_resources(tmp_path, found)
    assert all(again[name] is found[name] for name in found)


def resource(text: str) -> str:
    return f"resources:\n- {text}\n"


RUNTIME_TYPE = '"@type": type.googleapis.com/envoy.service.runtime.v3.Runtime'


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("[1, 2", "", "cannot be read"),
        ("- 1", "resources", "is no list"),
        ("resources: []\nnode: {}", "node", "unknown field"),
        ("resources: []\nnodes: 7", "nodes", "is not a mapping"),
        ("resources: []\nnodes: {kinds: [router]}", "nodes.kinds", "is not a list of sidecar, gateway, grpc"),
        ("resources: []\nnodes: {namespaces: shop}", "nodes.namespaces", "is not a list of names"),
        (resource("{name: x}"), "resources[0].@type", "is missing"),
        (resource('{"@type": x/foo.Bar, name: x}'), "resources[0].@type", "is not one of"),
        (
            resource('{"@type": x/envoy.extensions.transport_sockets.tls.v3.Secret, name: x}'),
            "resources[0].@type",
            "--secrets",
        ),
        (resource(f"{{{RUNTIME_TYPE}, name: x, layr: {{}}}}"), "resources[0]", "layr"),
        (resource(f"{{{RUNTIME_TYPE}}}"), "resources[0].name", "is missing"),
        (
            resource(f"{{{RUNTIME_TYPE}, name: x}}\n- {{{RUNTIME_TYPE}, name: x}}"),
            "resources[1]",
            "stands in this file twice",
        ),
    ],
)
def test_what_is_wrong_is_named_and_the_last_good_form_stays(
    tmp_path: Path, text: str, path: str, message: str
) -> None:
    file = tmp_path / "one.yaml"
    file.write_text(LAYER)
    good, _ = read_resources(tmp_path, {})
    file.write_text(text)
    found, problems = read_resources(tmp_path, good)
    assert found == good
    assert [(each.origin, each.path) for each in problems] == [(str(file), path)]
    assert message in problems[0].message
    assert read_resources(tmp_path, {})[0] == {"one.yaml": ()}
