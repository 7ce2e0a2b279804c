"""Certificates and keys in a directory as secrets, by name. Nothing of a key is ever in a message, a log or an error."""

from __future__ import annotations

import dataclasses
import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from google.protobuf.message import Message

from isthmus_controlplane.stores.base import Problem

MAX_SECRETS = 10_000
MAX_BYTES = 1024 * 1024
AUTHORITY_SUFFIX = "-cacert"  # Istio's name for the authorities of a credential
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?")


@dataclasses.dataclass(frozen=True, slots=True)
class SecretFiles:
    """The files of one name: a certificate chain with its key, and authorities; what is not there is None."""

    chain: Path | None = None
    key: Path | None = None
    authorities: Path | None = None


class RefusedSecretError(Exception):
    """Files cannot be used; the text says why, without their content."""


def read_secrets(root: Path, last: Mapping[str, Message]) -> tuple[dict[str, Message], tuple[Problem, ...]]:
    """Read all secrets of a directory.

    ``NAME.crt`` with ``NAME.key``, or ``NAME/tls.crt`` with ``NAME/tls.key`` as Kubernetes mounts them, is the
    certificate ``NAME``; ``NAME.ca.crt`` or ``NAME/ca.crt`` are the authorities ``NAME-cacert``.

    Args:
        root: the directory.
        last: what was read before: what cannot be used now stays as it was, also between the two halves of a renewal.

    Returns:
        The secrets by name, sorted, the same objects where nothing changed, and what is wrong.
    """
    secrets: dict[str, Message] = {}
    problems: list[Problem] = []
    for name, files in sorted(_found(root).items())[:MAX_SECRETS]:
        wanted = ((name, files.chain or files.key), (name + AUTHORITY_SUFFIX, files.authorities))
        for secret, path in wanted:
            if path is None:
                continue
            try:
                made = _authorities(secret, path) if path is files.authorities else _certificate(secret, files)
            except RefusedSecretError as error:
                problems.append(Problem(str(path), "", str(error)))
                if secret in last:
                    secrets[secret] = last[secret]
            else:
                secrets[secret] = last[secret] if last.get(secret) == made else made
    return dict(sorted(secrets.items())), tuple(problems)


def _found(root: Path) -> dict[str, SecretFiles]:
    """Group the files of a directory by name; hidden ones, and Kubernetes' own, are left out."""
    found: dict[str, SecretFiles] = {}
    for path in sorted(root.iterdir()):
        for name, part, file in _parts(path):
            if _NAME.fullmatch(name):
                found[name] = dataclasses.replace(found.get(name, SecretFiles()), **{part: file})
    return found


def _parts(path: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield (name, which part of a secret, file)."""
    if path.is_dir():
        for part, file in (("chain", "tls.crt"), ("key", "tls.key"), ("authorities", "ca.crt")):
            if (path / file).is_file():
                yield path.name, part, path / file
        return
    for suffix, part in ((".ca.crt", "authorities"), (".crt", "chain"), (".key", "key")):
        if path.name.endswith(suffix):
            yield path.name.removesuffix(suffix), part, path
            return


def _certificate(name: str, files: SecretFiles) -> Message:
    if files.chain is None or files.key is None:
        missing = "certificate" if files.chain is None else "key"
        raise RefusedSecretError(f"there is no {missing} beside it; add NAME.crt and NAME.key, or tls.crt and tls.key")
    try:
        # Refuses what does not belong together, which is how a renewal looks between its two files.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files.chain, files.key, password=_no_password)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise RefusedSecretError(f"is no certificate with an unencrypted key of its own: {reason}") from None
    secret = Secret(name=name)
    secret.tls_certificate.certificate_chain.inline_bytes = _read(files.chain)
    secret.tls_certificate.private_key.inline_bytes = _read(files.key)
    result: Message = secret
    return result


def _authorities(name: str, path: Path) -> Message:
    raw = _read(path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=raw.decode("ascii"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise RefusedSecretError(f"holds no certificates in PEM form: {reason}") from None
    secret = Secret(name=name)
    secret.validation_context.trusted_ca.inline_bytes = raw
    result: Message = secret
    return result


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RefusedSecretError(f"cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise RefusedSecretError(f"has more than {MAX_BYTES} bytes")
    return raw
