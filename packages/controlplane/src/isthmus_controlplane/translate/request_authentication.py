"""The jwt_authn filter from RequestAuthentications: a token that is there must be good, one that is missing may be missing."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable, Iterator
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.http_uri_pb2 import HttpUri
from envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.route.v3.route_components_pb2 import RouteMatch
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import (
    JwtAuthentication,
    JwtClaimToHeader,
    JwtHeader,
    JwtProvider,
    JwtRequirement,
    JwtRequirementAndList,
    JwtRequirementOrList,
    RemoteJwks,
    RequirementRule,
)
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import CertificateValidationContext, SubjectAltNameMatcher
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import CommonTlsContext, UpstreamTlsContext
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty

from isthmus_controlplane.stores.base import ConfigObject
from isthmus_controlplane.translate.authorization_match import JWT_PAYLOAD
from isthmus_controlplane.translate.connection_pool import CONNECT_TIMEOUT_S
from isthmus_controlplane.translate.message import packed, socket_address

FETCH_TIMEOUT = Duration(seconds=5)  # Istio's
CACHE_DURATION = Duration(seconds=20 * 60)  # Istio fetches keys again after 20 minutes
TLS_SOCKET = "envoy.transport_sockets.tls"
_SPACE_DELIMITED = ("permission", "scope")


def jwt_authentication(policies: Iterable[ConfigObject]) -> Any:
    """Return the filter's configuration for all rules of these RequestAuthentications; None without rules."""
    rules = [rule for policy in policies for rule in policy.spec.jwt_rules]  # type: ignore[attr-defined]
    if not rules:
        return None
    config = JwtAuthentication(bypass_cors_preflight=True)
    names = [f"origins-{index}" for index in range(len(rules))]
    for name, rule in zip(names, rules, strict=True):
        config.providers[name].CopyFrom(_provider(rule))
    config.rules.append(RequirementRule(match=RouteMatch(prefix="/"), requires=_requirement(names)))
    return config


def _provider(rule: Any) -> Any:
    provider = JwtProvider(
        issuer=rule.issuer,
        audiences=rule.audiences,
        forward=rule.forward_original_token,
        forward_payload_header=rule.output_payload_to_header,
        payload_in_metadata=JWT_PAYLOAD,
        from_headers=[JwtHeader(name=header.name, value_prefix=header.prefix) for header in rule.from_headers],
        from_params=rule.from_params,
        from_cookies=rule.from_cookies,
        claim_to_headers=[
            JwtClaimToHeader(header_name=each.header, claim_name=each.claim) for each in rule.output_claim_to_headers
        ],
    )
    spaced = sorted({*_SPACE_DELIMITED, *rule.space_delimited_claims})
    provider.normalize_payload_in_metadata.space_delimited_claims.extend(spaced)
    if rule.jwks:
        provider.local_jwks.CopyFrom(DataSource(inline_string=rule.jwks))
    else:
        uri = HttpUri(
            uri=rule.jwks_uri,
            cluster=_cluster_name(rule.jwks_uri),
            timeout=rule.timeout if rule.HasField("timeout") else FETCH_TIMEOUT,
        )
        provider.remote_jwks.CopyFrom(RemoteJwks(http_uri=uri, cache_duration=CACHE_DURATION))
    return provider


def _requirement(names: list[str]) -> Any:
    """Every token that is there must be good. Issuers may look at the same place, so a good one of any of them is enough."""
    each = [_any_of(JwtRequirement(provider_name=name), JwtRequirement(allow_missing=Empty())) for name in names]
    if len(each) == 1:
        return each[0]
    together = JwtRequirement(requires_all=JwtRequirementAndList(requirements=each))
    return _any_of(*(JwtRequirement(provider_name=name) for name in names), together)


def _any_of(*requirements: Any) -> Any:
    return JwtRequirement(requires_any=JwtRequirementOrList(requirements=requirements))


def key_clusters(policies: Iterable[ConfigObject], ca_certificates: str) -> Iterator[tuple[Any, ConfigObject]]:
    """Yield the clusters from which keys are fetched, each once, with the first policy that needs it.

    Args:
        policies: RequestAuthentications.
        ca_certificates: path of the authorities that nodes trust for servers of the internet.
    """
    seen: set[str] = set()
    for policy in policies:
        for rule in policy.spec.jwt_rules:  # type: ignore[attr-defined]
            name = _cluster_name(rule.jwks_uri) if rule.jwks_uri else ""
            if name and name not in seen:
                seen.add(name)
                yield _cluster(name, rule.jwks_uri, ca_certificates), policy


def _cluster_name(uri: str) -> str:
    scheme, host, port = _origin(uri)
    return f"jwks|{scheme}|{port}|{host}"


def _origin(uri: str) -> tuple[str, str, int]:
    parts = urllib.parse.urlsplit(uri)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _cluster(name: str, uri: str, ca_certificates: str) -> Any:
    """A cluster of one server, found by DNS; over TLS its certificate is checked."""
    scheme, host, port = _origin(uri)
    endpoint = LbEndpoint(endpoint=Endpoint(address=socket_address(host, port)))
    cluster = Cluster(
        name=name,
        type=Cluster.STRICT_DNS,
        dns_lookup_family=Cluster.V4_PREFERRED,
        connect_timeout=Duration(seconds=CONNECT_TIMEOUT_S),
        load_assignment=ClusterLoadAssignment(
            cluster_name=name, endpoints=[LocalityLbEndpoints(lb_endpoints=[endpoint])]
        ),
    )
    if scheme == "https":
        san = SubjectAltNameMatcher(san_type=SubjectAltNameMatcher.DNS, matcher=StringMatcher(exact=host))
        checks = CertificateValidationContext(
            trusted_ca=DataSource(filename=ca_certificates), match_typed_subject_alt_names=[san]
        )
        context = UpstreamTlsContext(sni=host, common_tls_context=CommonTlsContext(validation_context=checks))
        cluster.transport_socket.name = TLS_SOCKET
        cluster.transport_socket.typed_config.CopyFrom(packed(context))
    return cluster
