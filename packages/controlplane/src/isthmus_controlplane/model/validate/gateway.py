"""Rules of Gateway."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_api.istio.networking.v1alpha3.gateway_pb2 import ServerTLSSettings
from isthmus_controlplane.model.fields import FieldProblem, shown
from isthmus_controlplane.model.gateway import HTTP_PROTOCOLS, SERVER_PROTOCOLS, TLS_PROTOCOLS
from isthmus_controlplane.model.validate.text import check_host, check_label_name, check_port, is_ip_address

_MUTUAL = frozenset({ServerTLSSettings.MUTUAL, ServerTLSSettings.OPTIONAL_MUTUAL})


def validate_gateway(spec: Any) -> Iterator[FieldProblem]:
    """Yield what is wrong with a Gateway."""
    if not spec.servers:
        yield FieldProblem("spec.servers", "is empty: give at least one port with hosts")
    seen: set[tuple[str, int, str]] = set()
    for index, server in enumerate(spec.servers):
        path = f"spec.servers[{index}]"
        yield from _server(server, path)
        key = (server.bind, server.port.number, server.port.name)
        if key in seen:
            yield FieldProblem(
                f"{path}.port.name", f"{shown(server.port.name)} names another server of this port: names must differ"
            )
        seen.add(key)


def _server(server: Any, path: str) -> Iterator[FieldProblem]:
    yield from check_port(server.port.number, f"{path}.port.number")
    yield from check_label_name(server.port.name, f"{path}.port.name")
    protocol = server.port.protocol.upper()
    if protocol not in SERVER_PROTOCOLS:
        message = f"{shown(server.port.protocol)} is not supported: choose one of {', '.join(SERVER_PROTOCOLS)}"
        yield FieldProblem(f"{path}.port.protocol", message)
    if server.bind and not is_ip_address(server.bind):
        yield FieldProblem(f"{path}.bind", f"{shown(server.bind)} is not an IP address")
    if not server.hosts:
        yield FieldProblem(f"{path}.hosts", "is empty: give the hosts that are served, '*' for all")
    for index, host in enumerate(server.hosts):
        yield from _host(host, f"{path}.hosts[{index}]")
    yield from _tls(server, protocol, f"{path}.tls")


def _host(text: str, path: str) -> Iterator[FieldProblem]:
    namespace, slash, host = text.rpartition("/")
    if slash and namespace not in {"*", "."}:
        yield from check_label_name(namespace, path)
    if host != "*":
        yield from check_host(host, path)


def _tls(server: Any, protocol: str, path: str) -> Iterator[FieldProblem]:
    tls = server.tls
    if protocol not in TLS_PROTOCOLS:
        given = [field.json_name for field, _ in tls.ListFields() if field.name != "https_redirect"]
        if given:
            yield FieldProblem(f"{path}.{given[0]}", f"has no effect on {protocol}: use protocol HTTPS or TLS")
        elif tls.https_redirect and protocol not in HTTP_PROTOCOLS:
            yield FieldProblem(f"{path}.httpsRedirect", f"{protocol} has no redirects: use it with HTTP")
        return
    if not server.HasField("tls"):
        yield FieldProblem(path, f"is missing, but {protocol} needs it: give mode and certificates")
        return
    if tls.https_redirect:
        yield FieldProblem(f"{path}.httpsRedirect", "is for servers of plain HTTP: this one is secure already")
    if tls.mode == ServerTLSSettings.PASSTHROUGH:
        yield from _without_files(tls, path)
    else:
        yield from _files(tls, path)


def _without_files(tls: Any, path: str) -> Iterator[FieldProblem]:
    for field, _ in tls.ListFields():
        if field.name != "mode":
            yield FieldProblem(f"{path}.{field.json_name}", "has no effect with PASSTHROUGH: TLS does not end here")


def _files(tls: Any, path: str) -> Iterator[FieldProblem]:
    if tls.credential_name:
        yield from check_label_name(tls.credential_name, f"{path}.credentialName")
        for name in ("server_certificate", "private_key", "tls_certificates"):
            if getattr(tls, name):
                json_name = tls.DESCRIPTOR.fields_by_name[name].json_name
                yield FieldProblem(f"{path}.{json_name}", "cannot stand beside credentialName: give one of the two")
    else:
        yield from _pairs(tls, path)
    yield from _client_certificates(tls, path)


def _pairs(tls: Any, path: str) -> Iterator[FieldProblem]:
    pairs = [(tls, path)] if not tls.tls_certificates else []
    for index, pair in enumerate(tls.tls_certificates):
        pairs.append((pair, f"{path}.tlsCertificates[{index}]"))
        if tls.server_certificate or tls.private_key:
            yield FieldProblem(f"{path}.tlsCertificates", "cannot stand beside serverCertificate: give one of the two")
            break
    for pair, place in pairs:
        for name in ("server_certificate", "private_key"):
            if not getattr(pair, name):
                json_name = pair.DESCRIPTOR.fields_by_name[name].json_name
                yield FieldProblem(f"{place}.{json_name}", "is missing: give the path of a PEM file on the gateway")


def _client_certificates(tls: Any, path: str) -> Iterator[FieldProblem]:
    if tls.mode in _MUTUAL and not tls.ca_certificates and not tls.credential_name:
        yield FieldProblem(f"{path}.caCertificates", "is missing, but client certificates are checked: give a path")
    if tls.mode not in _MUTUAL:
        for name in ("ca_certificates", "subject_alt_names", "verify_certificate_spki", "verify_certificate_hash"):
            if getattr(tls, name):
                json_name = tls.DESCRIPTOR.fields_by_name[name].json_name
                yield FieldProblem(
                    f"{path}.{json_name}", "has an effect with MUTUAL and OPTIONAL_MUTUAL only: remove it"
                )
