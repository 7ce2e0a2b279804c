"""What policies put before a workload: jwt_authn and RBAC filters, for requests and for connections."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2

from isthmus_controlplane.model.model import Model
from isthmus_controlplane.stores.base import ConfigObject, ObjectKey
from isthmus_controlplane.translate.authorization import access_rules
from isthmus_controlplane.translate.message import packed
from isthmus_controlplane.translate.request_authentication import jwt_authentication, key_clusters

JWT_AUTHN = "envoy.filters.http.jwt_authn"
HTTP_RBAC = "envoy.filters.http.rbac"
NETWORK_RBAC = "envoy.filters.network.rbac"
TCP_STAT_PREFIX = "tcp."


@dataclasses.dataclass(frozen=True, slots=True)
class SecurityFilters:
    """What a workload's policies become.

    Attributes:
        http: filters of connection managers, tokens before access.
        network: filters of chains that carry bytes.
        clusters: from which keys of issuers are fetched, with the policy that names them.
        origins: the policies.
    """

    http: tuple[Any, ...]
    network: tuple[Any, ...]
    clusters: tuple[tuple[Any, ConfigObject], ...]
    origins: tuple[ObjectKey, ...]


def security_filters(model: Model, namespace: str, labels: Mapping[str, str]) -> SecurityFilters:
    """Translate the policies that hold for a workload."""
    policies = model.by_label
    access = policies.holding("AuthorizationPolicy", namespace, labels)
    tokens = policies.holding("RequestAuthentication", namespace, labels)
    jwt = jwt_authentication(tokens)
    http = [HttpFilter(name=JWT_AUTHN, typed_config=packed(jwt))] if jwt is not None else []
    http.extend(
        HttpFilter(name=HTTP_RBAC, typed_config=packed(http_rbac_pb2.RBAC(rules=rules)))
        for rules in access_rules(access, http=True)
    )
    network = [
        Filter(name=NETWORK_RBAC, typed_config=packed(network_rbac_pb2.RBAC(stat_prefix=TCP_STAT_PREFIX, rules=rules)))
        for rules in access_rules(access, http=False)
    ]
    origins = tuple(obj.key for obj in (*tokens, *access))
    return SecurityFilters(
        tuple(http), tuple(network), tuple(key_clusters(tokens, model.mesh.ca_certificates)), origins
    )
