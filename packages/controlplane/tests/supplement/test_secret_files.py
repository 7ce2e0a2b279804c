"""Secrets from files: what becomes which secret, and what is refused without a word of its content."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from isthmus_controlplane.supplement.secret_files import read_secrets
from isthmus_controlplane.supplement.testing import make_certificate


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    for name in ("one", "two"):
        make_certificate(folder, name)
    return folder


def copy(made: Path, source: str, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(made / source, target)


def test_pairs_authorities_and_mounted_secrets_are_found_by_name(made: Path, tmp_path: Path) -> None:
    copy(made, "one.crt", tmp_path / "web.crt")
    copy(made, "one.key", tmp_path / "web.key")
    copy(made, "two.crt", tmp_path / "web.ca.crt")
    copy(made, "two.crt", tmp_path / "api" / "tls.crt")
    copy(made, "two.key", tmp_path / "api" / "tls.key")
    copy(made, "one.crt", tmp_path / "api" / "ca.crt")
    copy(made, "one.key", tmp_path / ".hidden.key")
    (tmp_path / "README").write_text("not a secret")
    secrets, problems = read_secrets(tmp_path, {})
    assert problems == ()
    assert list(secrets) == ["api", "api-cacert", "web", "web-cacert"]
    web: Any = secrets["web"]
    assert web.tls_certificate.private_key.inline_bytes == (made / "one.key").read_bytes()
    assert web.tls_certificate.certificate_chain.inline_bytes == (made / "one.crt").read_bytes()
    authorities: Any = secrets["web-cacert"]
    assert authorities.validation_context.trusted_ca.inline_bytes == (made / "two.crt").read_bytes()
    again, _ = read_secrets(tmp_path, secrets)
    assert all(again[name] is secrets[name] for name in secrets)


def test_a_renewal_half_done_keeps_the_old_pair(made: Path, tmp_path: Path) -> None:
    copy(made, "one.crt", tmp_path / "web.crt")
    copy(made, "one.key", tmp_path / "web.key")
    before, _ = read_secrets(tmp_path, {})
    copy(made, "two.crt", tmp_path / "web.crt")
    half, problems = read_secrets(tmp_path, before)
    assert half["web"] is before["web"]
    assert [problem.origin for problem in problems] == [str(tmp_path / "web.crt")]
    copy(made, "two.key", tmp_path / "web.key")
    after, problems = read_secrets(tmp_path, half)
    assert problems == ()
    assert after["web"] != before["web"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("lonely.crt", None, "there is no key beside it"),
        ("lonely.key", None, "there is no certificate beside it"),
        (
            "bad.ca.crt",
            b"-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n",
            "no certificates in PEM form",
        ),
        ("bad.ca.crt", b"\xff\xfe", "no certificates in PEM form"),
        ("huge.ca.crt", b"x" * (1024 * 1024 + 1), "has more than 1048576 bytes"),
    ],
)
def test_what_cannot_be_used_is_said_without_its_content(
    made: Path, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    raw = (made / f"one.{name.rpartition('.')[2]}").read_bytes() if content is None else content
    (tmp_path / name).write_bytes(raw)
    secrets, problems = read_secrets(tmp_path, {})
    assert secrets == {}
    assert len(problems) == 1
    assert message in problems[0].message
    assert "PRIVATE KEY" not in str(problems[0])


def test_a_key_behind_a_password_is_refused(made: Path, tmp_path: Path) -> None:
    copy(made, "one.crt", tmp_path / "web.crt")
    locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGbMFcGCSqGSIb3DQEFDTBK\n-----END ENCRYPTED PRIVATE KEY-----\n"
    (tmp_path / "web.key").write_text(locked)
    secrets, problems = read_secrets(tmp_path, {})
    assert secrets == {}
    assert "no certificate with an unencrypted key of its own" in problems[0].message
