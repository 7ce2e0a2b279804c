"""What joins a translation, and which secrets its resources name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext, UpstreamTlsContext
from envoy.service.runtime.v3.rtds_pb2 import Runtime
from google.protobuf.message import Message

from isthmus_controlplane.model.model import EMPTY_MODEL
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.snapshot.resource_type import CLUSTER, LISTENER, RUNTIME, SECRET
from isthmus_controlplane.snapshot.snapshot import build
from isthmus_controlplane.stores.base import ObjectKey
from isthmus_controlplane.supplement.resource_files import Given, Nodes
from isthmus_controlplane.supplement.secret_names import SecretNames, secret_names_of
from isthmus_controlplane.supplement.supplement import Supplement
from isthmus_controlplane.translate import translate
from isthmus_controlplane.xds.testing import snapshot_of

KEY = b"-----BEGIN PRIVATE KEY-----"


def listener(*names: str) -> Message:
    made = Listener(name="tls")
    for name in names:
        context = DownstreamTlsContext()
        config = context.common_tls_context.tls_certificate_sds_secret_configs.add(name=name)
        config.sds_config.ads.SetInParent()
        chain = made.filter_chains.add()
        chain.transport_socket.typed_config.Pack(context)
    result: Message = made
    return result


def cluster(name: str, *, sds: bool = True) -> Message:
    context = UpstreamTlsContext()
    combined = context.common_tls_context.combined_validation_context
    combined.validation_context_sds_secret_config.name = name
    if sds:
        combined.validation_context_sds_secret_config.sds_config.ads.SetInParent()
    made = Cluster(name=f"to-{name}")
    made.transport_socket_matches.add().transport_socket.typed_config.Pack(context)
    result: Message = made
    return result


def secrets(*names: str) -> Mapping[str, Message]:
    made = {name: Secret(name=name) for name in names}
    for each in made.values():
        each.tls_certificate.private_key.inline_bytes = KEY
    return dict(made)


def given(message: Any, type_url: str, nodes: Nodes | None = None) -> Given:
    return Given(ObjectKey("File", "dir", f"{message.name}.yaml"), type_url, message.name, message, nodes or Nodes())


def test_names_are_found_in_extensions_of_extensions() -> None:
    assert secret_names_of(listener("one", "two")) == {"one", "two"}
    assert secret_names_of(cluster("authorities")) == {"authorities"}
    assert secret_names_of(cluster("own", sds=False)) == frozenset()  # of the client's own bootstrap
    wrapped = TypedExtensionConfig(name="x")
    wrapped.typed_config.Pack(listener("deep"))
    assert secret_names_of(wrapped) == {"deep"}
    wrapped.typed_config.type_url = "type.googleapis.com/nobody.knows.This"
    assert secret_names_of(wrapped) == frozenset()
    wrapped.typed_config.type_url = "type.googleapis.com/envoy.config.listener.v3.Listener"
    wrapped.typed_config.value = b"\xff"
    assert secret_names_of(wrapped) == frozenset()


@pytest.mark.parametrize("kind", ["sidecar", "gateway", "grpc"])
def test_a_scope_gets_the_secrets_that_its_own_resources_name(kind: Any) -> None:
    scope = Scope(kind=kind)
    resources = (
        given(listener("web", "absent"), LISTENER, Nodes(frozenset({"sidecar"}))),
        given(cluster("api"), CLUSTER, Nodes(frozenset({"gateway"}))),
    )
    supplement = Supplement(resources, secrets("web", "api", "other"))
    joined = supplement.join(translate(EMPTY_MODEL, scope), scope, SecretNames())
    wanted = {"sidecar": ["web"], "gateway": ["api"], "grpc": []}[kind]
    assert list(joined.messages.get(SECRET, {})) == wanted
    assert "PRIVATE KEY" not in repr(supplement)


def test_the_text_of_a_name_elsewhere_is_no_reference() -> None:
    supplement = Supplement((given(Runtime(name="web"), RUNTIME),), secrets("web"))
    assert SECRET not in supplement.join(translate(EMPTY_MODEL, Scope()), Scope(), SecretNames()).messages


def test_resources_join_and_what_was_translated_goes_first() -> None:
    translation = translate(EMPTY_MODEL, Scope())
    hidden = Cluster(name="BlackHoleCluster")
    supplement = Supplement((given(Runtime(name="flags"), RUNTIME), given(hidden, CLUSTER)))
    joined = supplement.join(translation, Scope(), SecretNames())
    assert list(joined.messages[RUNTIME]) == ["flags"]
    assert joined.origins[RUNTIME, "flags"] == (ObjectKey("File", "dir", "flags.yaml"),)
    assert joined.messages[CLUSTER]["BlackHoleCluster"] is translation.messages[CLUSTER]["BlackHoleCluster"]
    assert [each.origin for each in joined.problems] == ["File dir/BlackHoleCluster.yaml"]
    assert "there is a CDS 'BlackHoleCluster' already: choose another name" in joined.problems[0].message
    assert (
        build(joined.messages).collection(RUNTIME).version
        == snapshot_of(Runtime(name="flags")).collection(RUNTIME).version
    )


def test_nothing_to_add_changes_nothing() -> None:
    translation = translate(EMPTY_MODEL, Scope())
    assert Supplement().join(translation, Scope(), SecretNames()) is translation
