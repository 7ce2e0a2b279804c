"""Parts of a configuration dump: resource, mask and name_regex, with Envoy's answers (also held against it live)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster

from isthmus_proxy.admin import config_dump
from isthmus_proxy.admin.dispatch import Dispatcher
from isthmus_proxy.admin.response import AdminRequest

CLUSTER_TYPE = "type.googleapis.com/envoy.config.cluster.v3.Cluster"


def ask(query: str) -> tuple[int, str]:
    bootstrap = Bootstrap()
    bootstrap.node.id, bootstrap.node.cluster = "me", "us"
    dynamic = [
        config_dump.DynamicResource("a", "7", Cluster(name="a"), 1.0),
        config_dump.DynamicResource("refused", "", None, 0.0, "active", "name: no", 2.0, "8"),
    ]
    static = Cluster(name="file", alt_stat_name="f")
    static.load_assignment.cluster_name = "file"
    source = config_dump.DumpSource(
        1_795_460_828.25,
        bootstrap=lambda: bootstrap,
        static_clusters=lambda: [static, Cluster(name="other")],
        static_listeners=list,
        static_routes=list,
        dynamic=lambda kind: dynamic if kind == "cds" else [],
        version=lambda kind: f"{kind}-version",
    )
    response = Dispatcher(config_dump.endpoints(source)).respond(AdminRequest("GET", "/config_dump", _query(query)))
    return response.status, "".join(response.body)


def _query(text: str) -> dict[str, str]:
    return AdminRequest.from_target(b"GET", f"/?{text}".encode()).query  # type: ignore[return-value]


def configs(query: str) -> list[dict[str, Any]]:
    status, body = ask(query)
    assert status == 200, body
    found: list[dict[str, Any]] = json.loads(body).get("configs", [])
    for each in found:
        each["@type"] = each["@type"].rpartition("v3.")[2]
    return found


def test_one_list_is_shown_element_by_element() -> None:
    static = configs("resource=static_clusters")
    assert [each["@type"] for each in static] == ["ClustersConfigDump.StaticCluster"] * 2
    assert [each["cluster"]["name"] for each in static] == ["file", "other"]
    active = configs("resource=dynamic_active_clusters")
    assert [each["@type"] for each in active] == ["ClustersConfigDump.DynamicCluster"] * 2
    assert active[1]["error_state"]["version_info"] == "8"
    assert ask("resource=dynamic_listeners") == (200, "{}\n")


def test_a_mask_holds_for_each_element() -> None:
    assert configs("resource=static_clusters&mask=cluster.name,cluster.load_assignment.cluster_name")[0] == {
        "@type": "ClustersConfigDump.StaticCluster",
        "cluster": {"@type": CLUSTER_TYPE, "name": "file", "load_assignment": {"cluster_name": "file"}},
    }
    assert [set(each) for each in configs("resource=static_clusters&mask=last_updated")] == [
        {"@type", "last_updated"},
        {"@type", "last_updated"},
    ]
    assert configs("resource=dynamic_active_clusters&mask=error_state.details")[1] == {
        "@type": "ClustersConfigDump.DynamicCluster",
        "error_state": {"details": "refused: name: no"},
    }


def test_a_mask_alone_leaves_the_messages_that_have_all_its_fields() -> None:
    assert configs("mask=bootstrap.node.id") == [{"@type": "BootstrapConfigDump", "bootstrap": {"node": {"id": "me"}}}]
    assert configs("mask=bootstrap,last_updated")[0]["last_updated"] == "2026-11-23T19:07:08.250Z"
    assert configs("mask=version_info") == [
        {"@type": "ClustersConfigDump", "version_info": "cds-version"},
        {"@type": "ListenersConfigDump", "version_info": "lds-version"},
    ]


def test_names_match_as_a_whole() -> None:
    assert configs("resource=static_clusters&name_regex=o.*")[0]["cluster"]["name"] == "other"
    assert ask("resource=static_clusters&name_regex=ot") == (200, "{}\n")
    everything = configs("name_regex=a|file")
    assert len(everything) == 6
    clusters = everything[1]
    assert [each["cluster"]["name"] for each in clusters["static_clusters"]] == ["file"]
    assert [each["cluster"]["name"] for each in clusters["dynamic_active_clusters"]] == ["a"]


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("resource=nope", 404, "nope not found in config dump"),
        ("resource=dynamic_endpoint_configs", 404, "dynamic_endpoint_configs not found in config dump"),
        (
            "resource=bootstrap&mask=node.id",
            400,
            "bootstrap is not a repeated field. Use ?mask=bootstrap to get only this field",
        ),
        ("mask=foo", 400, "FieldMask foo could not be successfully applied to any configs."),
        (
            "mask=bootstrap,static_clusters",
            400,
            "FieldMask bootstrap,static_clusters could not be successfully applied to any configs.",
        ),
        ("resource=static_clusters&mask=cluster", 400, "FieldMask cluster could not be successfully used."),
        ("resource=static_clusters&mask=cluster.nope", 400, "FieldMask cluster.nope could not be successfully used."),
        (
            "resource=static_clusters&mask=cluster.load_assignment.endpoints.locality",
            400,
            "FieldMask cluster.load_assignment.endpoints.locality could not be successfully used.",
        ),
    ],
)
def test_what_cannot_be_answered_says_why(query: str, status: int, message: str) -> None:
    assert ask(query) == (status, message)


def test_a_bad_expression_is_refused() -> None:
    status, body = ask("name_regex=(")
    assert status == 400
    assert body.startswith("INVALID_ARGUMENT: Error while parsing name_regex from (: ")
