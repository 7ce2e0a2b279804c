"""Rules of RequestAuthentication and PeerAuthentication."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator
from typing import Any

from isthmus_api.istio.security.v1beta1.peer_authentication_pb2 import PeerAuthentication
from isthmus_controlplane.model.fields import FieldProblem, shown
from isthmus_controlplane.model.validate.text import (
    check_duration,
    check_header_name,
    check_header_value,
    check_host,
    check_port,
    is_ip_address,
)

MAX_JWKS = 65536
_UNSET = PeerAuthentication.MutualTLS.UNSET


def validate_peer_authentication(spec: Any) -> Iterator[FieldProblem]:
    """Yield what is wrong with a PeerAuthentication."""
    for number, mtls in sorted(spec.port_level_mtls.items()):
        path = f"spec.portLevelMtls.{number}"
        yield from check_port(number, path)
        if mtls.mode == _UNSET:
            yield FieldProblem(f"{path}.mode", "says nothing: give DISABLE, PERMISSIVE or STRICT")
    if spec.port_level_mtls and not spec.selector.match_labels:
        yield FieldProblem("spec.portLevelMtls", "needs a selector: ports are those of certain workloads")


def validate_request_authentication(spec: Any) -> Iterator[FieldProblem]:
    """Yield what is wrong with a RequestAuthentication."""
    for index, rule in enumerate(spec.jwt_rules):
        yield from _jwt_rule(rule, f"spec.jwtRules[{index}]")


def _jwt_rule(rule: Any, path: str) -> Iterator[FieldProblem]:
    if not rule.issuer:
        yield FieldProblem(f"{path}.issuer", "is empty: give the issuer that stands in the tokens")
    if bool(rule.jwks) == bool(rule.jwks_uri):
        yield FieldProblem(path, "needs the keys of the issuer: give one of jwks and jwksUri")
    if rule.jwks:
        yield from _jwks(rule.jwks, f"{path}.jwks")
    if rule.jwks_uri:
        yield from _uri(rule.jwks_uri, f"{path}.jwksUri")
    for index, header in enumerate(rule.from_headers):
        yield from check_header_name(header.name, f"{path}.fromHeaders[{index}].name")
        yield from check_header_value(header.prefix, f"{path}.fromHeaders[{index}].prefix")
    for name, values in (("fromParams", rule.from_params), ("fromCookies", rule.from_cookies)):
        for index, value in enumerate(values):
            if not value:
                yield FieldProblem(f"{path}.{name}[{index}]", "'' is not a name")
    if rule.output_payload_to_header:
        yield from check_header_name(rule.output_payload_to_header, f"{path}.outputPayloadToHeader")
    for index, copied in enumerate(rule.output_claim_to_headers):
        below = f"{path}.outputClaimToHeaders[{index}]"
        yield from check_header_name(copied.header, f"{below}.header")
        if not copied.claim:
            yield FieldProblem(f"{below}.claim", "is empty: give the name of a claim")
    if rule.HasField("timeout"):
        yield from check_duration(rule.timeout, f"{path}.timeout", zero=False)


def _jwks(text: str, path: str) -> Iterator[FieldProblem]:
    if len(text) > MAX_JWKS:
        yield FieldProblem(path, f"has {len(text)} characters: at most {MAX_JWKS} are possible")
        return
    try:
        keys = json.loads(text)
    except (ValueError, RecursionError) as error:
        yield FieldProblem(path, f"{shown(text)} is not JSON: {error}")
        return
    listed = keys.get("keys") if isinstance(keys, dict) else None
    if not isinstance(listed, list) or not listed or not all(isinstance(key, dict) and "kty" in key for key in listed):
        yield FieldProblem(path, f"{shown(text)} is not a key set: write {{'keys': [...]}} with keys that have a kty")


def _uri(uri: str, path: str) -> Iterator[FieldProblem]:
    yield from check_header_value(uri, path)
    try:
        parts = urllib.parse.urlsplit(uri)
        port, host = parts.port, parts.hostname or ""
    except ValueError as error:
        yield FieldProblem(path, f"{shown(uri)} is not a URI: {error}")
        return
    if parts.scheme not in {"http", "https"} or parts.username is not None or port == 0:
        yield FieldProblem(path, f"{shown(uri)} is not usable: write http:// or https://, a host and a path")
    elif not is_ip_address(host):
        yield from check_host(host, path, wildcard=False)
    elif parts.scheme == "https":
        yield FieldProblem(
            path, f"{shown(host)} is an address: https needs the name that is in the server's certificate"
        )
