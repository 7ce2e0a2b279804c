"""What of a node makes its scope."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Node
from hypothesis import given
from hypothesis import strategies as st

from isthmus_controlplane.model.scope import Scope, scope_of


def node(
    node_id: str = "sidecar~10.0.0.1~web.shop~shop.svc.cluster.local", agent: str = "envoy", **metadata: Any
) -> Any:
    result = Node(id=node_id, user_agent_name=agent)
    result.metadata.update(metadata)
    return result


def test_a_plain_sidecar_gets_redirected_listeners_in_its_namespace() -> None:
    assert scope_of(node()) == Scope(namespace="shop")


@pytest.mark.parametrize("port", ["15001", 15001, 15001.0])
def test_an_explicit_proxy_may_write_its_port_as_text_or_number(port: object) -> None:
    scope = scope_of(node(INTERCEPTION_MODE="NONE", HTTP_PROXY_PORT=port))
    assert (scope.http_proxy_port, scope.bind, scope.interception) == (15001, "127.0.0.1", "NONE")


def test_bind_is_taken_where_nothing_is_redirected() -> None:
    assert scope_of(node(INTERCEPTION_MODE="NONE", BIND="127.0.0.5")).bind == "127.0.0.5"
    assert scope_of(node(BIND="127.0.0.5")).bind == "0.0.0.0"


@pytest.mark.parametrize(
    "port", ["", "0", "65536", "x", "1e3", "٣", -1, 0, 1.5, float("nan"), float("inf"), True, None]
)
def test_an_unusable_port_counts_as_unset(port: object) -> None:
    assert scope_of(node(INTERCEPTION_MODE="NONE", HTTP_PROXY_PORT=port)).http_proxy_port is None


def test_a_proxy_port_without_explicit_mode_is_not_used() -> None:
    assert scope_of(node(HTTP_PROXY_PORT="15001")).http_proxy_port is None


@pytest.mark.parametrize(
    ("node_id", "agent", "kind"),
    [("router~1~a.b~d", "envoy", "gateway"), ("anything", "gRPC Go", "grpc"), ("sidecar~1~a.b~d", "envoy", "sidecar")],
)
def test_kind(node_id: str, agent: str, kind: str) -> None:
    assert scope_of(node(node_id, agent)).kind == kind


def test_namespace_of_metadata_goes_before_that_of_the_id() -> None:
    assert scope_of(node(NAMESPACE="prod")).namespace == "prod"


@given(
    st.text(),
    st.text(),
    st.dictionaries(
        st.sampled_from(["BIND", "HTTP_PROXY_PORT", "INTERCEPTION_MODE"]),
        st.one_of(st.text(), st.floats(), st.booleans(), st.none()),
    ),
)
def test_any_node_has_a_scope(node_id: str, agent: str, metadata: dict[str, Any]) -> None:
    scope = scope_of(node(node_id, agent, **metadata))
    assert hash(scope) == hash(scope_of(node(node_id, agent, **metadata)))
    assert scope.http_proxy_port is None or 0 < scope.http_proxy_port < 65536
