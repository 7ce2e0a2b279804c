"""Secrets over xDS: subscribed to by name, refused when they cannot be used, kept when the server takes them back."""

from __future__ import annotations

from pathlib import Path

import pytest
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from isthmus_proxy.config.secret import SECRET_TYPE
from isthmus_proxy.tls.model import CertificateConfig
from isthmus_proxy.tls.testing import Authority, Issued
from isthmus_proxy.xds.resources import Resource, Update
from isthmus_proxy.xds.secret_discovery import SecretDiscovery


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    return Authority(tmp_path_factory.mktemp("ca")).issue("server")


def update(name: str, chain: str, key: str) -> Update:
    secret = Secret(name=name)
    secret.tls_certificate.certificate_chain.inline_string = chain
    secret.tls_certificate.private_key.inline_string = key
    return Update(SECRET_TYPE, "1", (Resource(name, "", secret.SerializeToString(), secret),))


def test_subscribe_change_and_forget(issued: Issued) -> None:
    wanted: list[frozenset[str]] = []
    changes: list[str] = []
    secrets = SecretDiscovery(wanted.append)

    def first() -> None:
        changes.append("first")

    def second() -> None:
        changes.append("second")

    secrets.watch("a", first)
    secrets.watch("a", second)
    secrets.watch("b", second)
    assert wanted == [frozenset({"a"}), frozenset({"a", "b"})]
    assert secrets.get("a") is None
    assert secrets.apply(update("a", issued.pem, issued.key_pem)) == {}
    assert changes == ["first", "second"]
    assert isinstance(secrets.get("a"), CertificateConfig)
    assert secrets.apply(update("a", issued.pem, issued.key_pem)) == {}
    assert changes == ["first", "second"], "nothing changed"
    assert secrets.apply(Update(SECRET_TYPE, "2", (), ("a",))) == {}
    assert secrets.get("a") is not None, "what is in use stays"
    secrets.forget("a", first)
    secrets.forget("a", second)
    secrets.forget("a", second)
    assert wanted[2:] == [frozenset({"b"})]
    assert secrets.get("a") is None


def test_what_cannot_be_used_is_refused_and_the_old_one_stays(issued: Issued, tmp_path: Path) -> None:
    other = Authority(tmp_path).issue("other")
    secrets = SecretDiscovery(lambda _names: None)
    changes: list[int] = []
    secrets.watch("a", lambda: changes.append(1))
    secrets.apply(update("a", issued.pem, issued.key_pem))
    before = secrets.get("a")
    refused = secrets.apply(update("a", issued.pem, other.key_pem))
    assert "is not the key of the certificate" in refused["a"]
    assert issued.key_pem not in refused["a"]
    refused = secrets.apply(update("a", "words", issued.key_pem))
    assert "holds no certificate" in refused["a"]
    assert (secrets.get("a"), changes) == (before, [1])
