"""What of a node decides which resources it gets; nodes with equal scopes share one snapshot."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from envoy.config.core.v3.base_pb2 import Node
from google.protobuf.struct_pb2 import Value

from isthmus_controlplane.model.inbound import InboundPort

NodeKind = Literal["sidecar", "gateway", "grpc", "api"]
Interception = Literal["REDIRECT", "TPROXY", "NONE"]

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - Istio's name for listeners that traffic redirection feeds; they do not bind
LOOPBACK = "127.0.0.1"
DEFAULT_NAMESPACE = "default"
MAX_PORT = 65535
MAX_LABELS = 128
MAX_ADDRESSES = 16
MAX_CLUSTER = 253


@dataclasses.dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Paths of PEM files on the node: a certificate chain, its key, and whom to trust."""

    chain: str
    key: str
    root: str


@dataclasses.dataclass(frozen=True, slots=True)
class SecretName:
    """A pair that comes over SDS under this name; whom to trust comes under it with ``-cacert``."""

    name: str


Identity = CertificateFiles | SecretName


@dataclasses.dataclass(frozen=True, slots=True)
class Scope:
    """Everything about a node that changes what is generated for it.

    What a node says about itself is more than what matters (`narrow.narrow`): nodes that differ only in labels that nothing
    selects by, or in addresses that are instances of the same services, share one scope in the end.

    Attributes:
        kind: ``sidecar``, ``gateway`` (Istio's ``router``), ``grpc`` (a proxyless client) or ``api``, a reader of objects
            as they were written (Istio's node metadata ``GENERATOR: api``), such as the bridge.
        bind: address that outbound listeners carry.
        http_proxy_port: port of the explicit HTTP proxy listener (Istio's ``http_proxy``), None for listeners per port.
        interception: how traffic reaches the proxy (node metadata ``INTERCEPTION_MODE``); Istio's default is REDIRECT.
        namespace: decides short names and ``exportTo``.
        virtual_hosts_on_demand: whether the proxy asks for virtual hosts when requests for them come in (node metadata
            ``VIRTUAL_HOSTS_ON_DEMAND``), which Envoy can over delta streams.
        client: node id where a scope is that of one client alone, which only measurements ask for.
        labels: of the workload (node metadata ``LABELS``), sorted.
        addresses: of the workload (node metadata ``INSTANCE_IPS``), sorted; a narrowed scope has none.
        server_files: what the node presents to clients (node metadata ``TLS_SERVER_CERT_CHAIN``, ``_KEY``, ``_ROOT_CERT``).
        client_files: what the node presents to servers (``TLS_CLIENT_CERT_CHAIN``, ``_KEY``, ``_ROOT_CERT``); a narrowed scope has
            it only where a DestinationRule asks for mutual TLS.
        secret: name of the secret that the node presents to both where it names no files (node metadata ``TLS_SECRET``).
        inbound: whether inbound traffic is led through the proxy; decided when a scope is narrowed.
        ports: the ports of the services that the workload is an instance of; likewise.
        cluster: name of the node's workload; a narrowed scope has it only where a Telemetry asks for spans, which name it.
        locality: ``region/zone/subzone`` of the node; a narrowed scope has it only where a DestinationRule cares.
    """

    kind: NodeKind = "sidecar"
    bind: str = ANY_ADDRESS
    http_proxy_port: int | None = None
    interception: Interception = "REDIRECT"
    namespace: str = DEFAULT_NAMESPACE
    virtual_hosts_on_demand: bool = False
    client: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    addresses: tuple[str, ...] = ()
    server_files: CertificateFiles | None = None
    client_files: CertificateFiles | None = None
    secret: str = ""
    inbound: bool = False
    ports: tuple[InboundPort, ...] = ()
    locality: str = ""
    cluster: str = ""

    @property
    def server_identity(self) -> Identity | None:
        """What the node presents to clients."""
        return self.server_files or self._secret

    @property
    def client_identity(self) -> Identity | None:
        """What the node presents to servers."""
        return self.client_files or self._secret

    @property
    def _secret(self) -> SecretName | None:
        return SecretName(self.secret) if self.secret else None


def scope_of(node: Node) -> Scope:
    """Derive the scope of a node from its id and metadata; any node is served, unusable metadata counts as unset."""
    metadata = node.metadata.fields
    interception = _interception(_text(metadata.get("INTERCEPTION_MODE")))
    redirected = interception != "NONE"
    return Scope(
        kind=_kind(node),
        bind=ANY_ADDRESS if redirected else (_text(metadata.get("BIND")) or LOOPBACK),
        http_proxy_port=None if redirected else _port(metadata.get("HTTP_PROXY_PORT")),
        interception=interception,
        namespace=_text(metadata.get("NAMESPACE")) or _namespace_of_id(node.id),
        virtual_hosts_on_demand=_flag(metadata.get("VIRTUAL_HOSTS_ON_DEMAND")) and _kind(node) == "sidecar",
        labels=_labels(metadata.get("LABELS")),
        addresses=_addresses(_text(metadata.get("INSTANCE_IPS"))),
        server_files=_files(metadata, "TLS_SERVER"),
        client_files=_files(metadata, "TLS_CLIENT"),
        secret=_text(metadata.get("TLS_SECRET"))[:MAX_CLUSTER],
        locality=_locality(node.locality),
        cluster=node.cluster[:MAX_CLUSTER],
    )


def scope_of_one(node: Node) -> Scope:
    """Derive a scope that no other node shares, to measure what sharing brings."""
    return dataclasses.replace(scope_of(node), client=node.id)


def _kind(node: Node) -> NodeKind:
    if _text(node.metadata.fields.get("GENERATOR")) == "api":
        return "api"
    if node.user_agent_name.lower().startswith("grpc"):
        return "grpc"
    return "gateway" if node.id.startswith("router~") else "sidecar"


def _interception(mode: str) -> Interception:
    match mode.upper():
        case "NONE":
            return "NONE"
        case "TPROXY":
            return "TPROXY"
        case _:
            return "REDIRECT"


def _namespace_of_id(node_id: str) -> str:
    """Read the namespace out of Istio's ``sidecar~IP~NAME.NAMESPACE~DOMAIN``."""
    parts = node_id.split("~")
    if len(parts) != 4 or "." not in parts[2]:
        return DEFAULT_NAMESPACE
    return parts[2].rpartition(".")[2] or DEFAULT_NAMESPACE


def _flag(value: Value | None) -> bool:
    """Read a truth value that Istio's agent writes as text."""
    return value is not None and (value.bool_value or value.string_value.lower() == "true")


def _labels(value: Value | None) -> tuple[tuple[str, str], ...]:
    fields = value.struct_value.fields if value is not None else {}
    return tuple(sorted((name, _text(each)) for name, each in fields.items()))[:MAX_LABELS]


def _addresses(text: str) -> tuple[str, ...]:
    """Read Istio's list of addresses, apart by commas."""
    return tuple(sorted({part.strip() for part in text.split(",") if part.strip()}))[:MAX_ADDRESSES]


def _locality(locality: Any) -> str:
    """Write a place as objects do; a zone without a region says nothing."""
    parts = (locality.region, locality.zone, locality.sub_zone) if locality.region else ()
    return "/".join(parts).rstrip("/")


def _files(metadata: Any, prefix: str) -> CertificateFiles | None:
    """Read the paths of a certificate, which count only together."""
    chain, key, root = (_text(metadata.get(f"{prefix}_{part}")) for part in ("CERT_CHAIN", "KEY", "ROOT_CERT"))
    return CertificateFiles(chain, key, root) if chain and key and root else None


def _text(value: Value | None) -> str:
    return value.string_value if value is not None else ""


def _port(value: Value | None) -> int | None:
    """Read a port that Istio's agent writes as text and YAML authors write as a number."""
    if value is None:
        return None
    number = value.number_value if value.HasField("number_value") else _decimal(value.string_value)
    return int(number) if 0 < number <= MAX_PORT and number.is_integer() else None


def _decimal(text: str) -> float:
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 5 else 0.0
