"""One value of an AuthorizationPolicy as a permission or a principal of RBAC."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.rbac.v3.rbac_pb2 import Permission, Principal
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.extensions.path.match.uri_template.v3.uri_template_match_pb2 import UriTemplateMatchConfig
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.path_pb2 import PathMatcher
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.value_pb2 import ListMatcher, OrMatcher, ValueMatcher
from google.protobuf.wrappers_pb2 import UInt32Value

from isthmus_controlplane.model.condition import attribute
from isthmus_controlplane.translate.message import packed

JWT_NAMESPACE = "envoy.filters.http.jwt_authn"
JWT_PAYLOAD = "payload"
SPIFFE = "spiffe://"
# Fields of sources and operations, and the attributes that they compare. Those in "request." are unknown on TCP.
SOURCES = (
    ("principals", "source.principal"), ("request_principals", "request.auth.principal"), ("namespaces", "source.namespace"),
    ("service_accounts", "source.serviceAccount"), ("trust_domains", "source.trustDomain"), ("ip_blocks", "source.ip"),
    ("remote_ip_blocks", "remote.ip"),
)  # fmt: skip
OPERATIONS = (
    ("hosts", "request.host"), ("methods", "request.method"), ("paths", "request.path"), ("ports", "destination.port"),
)  # fmt: skip


def permission_of(key: str, value: str) -> Any:
    """What is asked for has this value of an attribute."""
    match key:
        case "request.host":
            return Permission(header=HeaderMatcher(name=":authority", string_match=pattern(value, ignore_case=True)))
        case "request.method":
            return Permission(header=_header(":method", value))
        case "request.path" if "{" in value:
            return Permission(uri_template=_template(value))
        case "request.path":
            return Permission(url_path=PathMatcher(path=pattern(value)))
        case "destination.ip":
            return Permission(destination_ip=_range(value))
        case "destination.port":
            return Permission(destination_port=int(value))
        case _:
            return Permission(requested_server_name=pattern(value))


def principal_of(key: str, value: str, namespace: str) -> Any:
    """Who asks has this value of an attribute; an account without namespace is one of ``namespace``."""
    found = attribute(key)
    family, names = found if found is not None else (key, ())
    match family:
        case "source.ip":
            return Principal(direct_remote_ip=_range(value))
        case "remote.ip":
            return Principal(remote_ip=_range(value))
        case "request.headers":
            return Principal(header=_header(names[0], value))
        case "request.auth.principal":
            return _request_principal(value)
        case "request.auth.audiences":
            return _claim(("aud",), pattern(value), listed=True)
        case "request.auth.presenter":
            return _claim(("azp",), pattern(value), listed=True)
        case "request.auth.claims":
            return _claim(names, pattern(value), listed=True)
        case _:
            return Principal(
                authenticated=Principal.Authenticated(principal_name=_certificate_name(family, value, namespace))
            )


def _certificate_name(family: str, value: str, namespace: str) -> Any:
    """The URI in a client's certificate, ``spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT``."""
    match family:
        case "source.principal":
            return pattern(value, before=SPIFFE)
        case "source.namespace":
            return _regex(f".*/ns/{_with_wildcards(value)}/.*")
        case "source.trustDomain":
            return _regex(f"{SPIFFE}{_with_wildcards(value)}/.*")
        case _:
            owner, _, account = value.rpartition("/")
            return _regex(f"{SPIFFE}.+/ns/{re.escape(owner or namespace)}/(.+/|)sa/{re.escape(account)}(/.+)?")


def _with_wildcards(value: str) -> str:
    return ".*".join(re.escape(part) for part in value.split("*"))


def pattern(value: str, *, before: str = "", ignore_case: bool = False) -> Any:
    """Istio's patterns: ``*`` anything but nothing, ``a*`` and ``*a`` beginnings and ends, else the text itself."""
    if value == "*":
        return _regex(".+")
    if value.startswith("*"):
        return StringMatcher(suffix=value[1:], ignore_case=ignore_case)
    if value.endswith("*"):
        return StringMatcher(prefix=before + value[:-1], ignore_case=ignore_case)
    return StringMatcher(exact=before + value, ignore_case=ignore_case)


def _regex(text: str) -> Any:
    return StringMatcher(safe_regex=RegexMatcher(regex=text))


def _header(name: str, value: str) -> Any:
    if value == "*":
        return HeaderMatcher(name=name, present_match=True)
    return HeaderMatcher(name=name, string_match=pattern(value))


def _template(value: str) -> Any:
    template = value.replace("{**}", "**").replace("{*}", "*")
    return TypedExtensionConfig(
        name="uri-template", typed_config=packed(UriTemplateMatchConfig(path_template=template))
    )


def _range(value: str) -> Any:
    network = ipaddress.ip_network(value, strict=False)
    return CidrRange(address_prefix=str(network.network_address), prefix_len=UInt32Value(value=network.prefixlen))


def _request_principal(value: str) -> Any:
    """``ISSUER/SUBJECT``; the issuer may have slashes. A ``*`` before is of the issuer, one behind of the subject."""
    issuer, slash, subject = value.rpartition("/")
    if value == "*":
        issuer, subject = "*", "*"
    elif not slash:
        issuer, subject = ("*", value) if value.startswith("*") else (value, "*" if value.endswith("*") else "")
    both = [_claim(("iss",), pattern(issuer)), _claim(("sub",), pattern(subject))]
    return Principal(and_ids=Principal.Set(ids=both))


def _claim(names: tuple[str, ...], text: Any, *, listed: bool = False) -> Any:
    """A claim of the token that was verified is this text or, where it may be a list, has it."""
    path = [MetadataMatcher.PathSegment(key=key) for key in (JWT_PAYLOAD, *names)]
    value = ValueMatcher(string_match=text)
    if listed:
        one_of = ValueMatcher(list_match=ListMatcher(one_of=ValueMatcher(string_match=text)))
        value = ValueMatcher(or_match=OrMatcher(value_matchers=[value, one_of]))
    return Principal(metadata=MetadataMatcher(filter=JWT_NAMESPACE, path=path, value=value))
