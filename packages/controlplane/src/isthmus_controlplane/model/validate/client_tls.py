"""Rules of ``tls`` in traffic policies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_api.istio.networking.v1alpha3.destination_rule_pb2 import ClientTLSSettings
from isthmus_controlplane.model.fields import FieldProblem
from isthmus_controlplane.model.validate.text import check_header_value, check_host, check_label_name

_FILES = ("client_certificate", "private_key", "ca_certificates")
_PAIR = _FILES[:2]
# What has no effect by mode; the mode itself and what is not listed has.
_IDLE = {
    ClientTLSSettings.DISABLE: (*_FILES, "credential_name", "subject_alt_names", "sni", "insecure_skip_verify"),
    ClientTLSSettings.SIMPLE: _PAIR,
    ClientTLSSettings.MUTUAL: (),
    ClientTLSSettings.ISTIO_MUTUAL: (*_FILES, "credential_name", "insecure_skip_verify"),
}


def check_client_tls(tls: Any, path: str) -> Iterator[FieldProblem]:
    """Yield what is wrong with one ClientTLSSettings."""
    idle = _IDLE.get(tls.mode, ())  # an unknown one is refused as such
    for field, _ in tls.ListFields():
        if field.name in idle:
            yield FieldProblem(
                f"{path}.{field.json_name}", f"has no effect with {ClientTLSSettings.TLSmode.Name(tls.mode)}: remove it"
            )
    if tls.mode != ClientTLSSettings.DISABLE:
        yield from _names(tls, path)
    if tls.mode in {ClientTLSSettings.SIMPLE, ClientTLSSettings.MUTUAL}:
        yield from _sources(tls, path)


def _names(tls: Any, path: str) -> Iterator[FieldProblem]:
    for index, name in enumerate(tls.subject_alt_names):
        if not name:
            yield FieldProblem(f"{path}.subjectAltNames[{index}]", "'' is not a name")
        yield from check_header_value(name, f"{path}.subjectAltNames[{index}]")
    if tls.sni:
        yield from check_host(tls.sni, f"{path}.sni", wildcard=False)


def _sources(tls: Any, path: str) -> Iterator[FieldProblem]:
    """Yield what is wrong with where certificates come from, and with what is checked although nothing is."""
    if tls.credential_name:
        yield from check_label_name(tls.credential_name, f"{path}.credentialName")
        for name in _FILES:
            if getattr(tls, name) and name not in _IDLE[tls.mode]:
                yield FieldProblem(f"{path}.{_json(name)}", "cannot stand beside credentialName: give one of the two")
    elif tls.mode == ClientTLSSettings.MUTUAL:
        for name in _PAIR:
            if not getattr(tls, name):
                message = "is missing, but MUTUAL shows a certificate: give the path of a PEM file, or credentialName"
                yield FieldProblem(f"{path}.{_json(name)}", message)
    if tls.insecure_skip_verify.value:
        for name in ("ca_certificates", "subject_alt_names"):
            if getattr(tls, name):
                yield FieldProblem(f"{path}.{_json(name)}", "is not looked at with insecureSkipVerify: remove one")


def _json(name: str) -> str:
    return str(ClientTLSSettings.DESCRIPTOR.fields_by_name[name].json_name)
