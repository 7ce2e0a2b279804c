"""TLS of applications in the mesh, told apart by server name."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict

from isthmus_controlplane.model.model import MeshSettings
from isthmus_controlplane.model.scope import Scope
from isthmus_controlplane.model.testing import admitted, make, service
from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate import translate
from isthmus_controlplane.translate.translation import LISTENER_TYPE

BOUND = Scope(interception="NONE", bind="127.0.0.1")


def https(host: str, **spec: Any) -> ConfigObject:
    return service(host, "v1", port=443, protocol="HTTPS", **spec)


def chains(
    *objects: ConfigObject, name: str = "0.0.0.0_443", scope: Scope | None = None, policy: Any = "REGISTRY_ONLY"
) -> Any:
    admission = admitted(objects, mesh=MeshSettings(policy))
    assert admission.problems == ()
    listener = MessageToDict(translate(admission.model, scope or Scope()).messages[LISTENER_TYPE][name])
    assert [each["name"] for each in listener["listenerFilters"]] == ["envoy.filters.listener.tls_inspector"]
    return {
        ",".join(chain.get("filterChainMatch", {}).get("serverNames", ())): chain["filters"][0]["typedConfig"].get(
            "cluster"
        )
        for chain in listener["filterChains"]
    }


def routed(host: str, *names: str, to: str, **match: Any) -> ConfigObject:
    route = {"match": [{"sniHosts": list(names)} | match], "route": [{"destination": {"host": to}}]}
    return make("VirtualService", "r", {"hosts": [host], "tls": [route]})


A, B = "outbound|443||a.shop", "outbound|443||b.shop"


def test_services_share_a_port_by_server_name() -> None:
    assert chains(https("a.shop"), https("b.shop")) == {"a.shop": A, "b.shop": B}
    assert chains(https("a.shop"), https("b.shop"), name="127.0.0.1_443", scope=BOUND) == {"a.shop": A, "b.shop": B}


def test_other_names_go_where_they_were_going_if_the_mesh_says_so() -> None:
    assert chains(https("a.shop"), policy="ALLOW_ANY") == {"a.shop": A, "": "PassthroughCluster"}


def test_an_address_of_its_own_stands_for_the_service() -> None:
    found = chains(https("a.shop", addresses=["240.0.0.1"]), https("b.shop"), name="240.0.0.1_443")
    assert found == {"a.shop": A, "": A}


def test_routes_by_server_name() -> None:
    objects = [https("a.shop"), https("b.shop")]
    assert chains(*objects, routed("a.shop", "a.shop", to="b.shop")) == {"a.shop": B, "b.shop": B}
    assert chains(*objects, routed("a.shop", "a.shop", to="b.shop", port=444)) == {"a.shop": A, "b.shop": B}
    assert chains(*objects, routed("a.shop", "a.shop", to="b.shop", sourceNamespace="x")) == {"a.shop": A, "b.shop": B}


def test_tls_and_plain_tcp_do_not_share_a_port() -> None:
    (problem,) = admitted([https("a.shop"), service("b.shop", port=443, protocol="TCP")]).problems
    assert problem.path == "spec.ports"
