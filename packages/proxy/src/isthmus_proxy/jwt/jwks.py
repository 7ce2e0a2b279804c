"""Key sets (RFC 7517) and signatures (RFC 7515, RFC 7518, RFC 8037), by the library ``cryptography``.

The only module that imports it, and imported itself only where a configuration has a provider of tokens.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from isthmus_proxy.jwt import base64url, status
from isthmus_proxy.jwt.token import Token, read_json

MAX_KEYS = 1000
"""Keys of a set that are read; a token that names none is tried against all of its kind."""
_HASHES: dict[str, Callable[[], hashes.HashAlgorithm]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}
_CURVES: dict[str, tuple[Callable[[], ec.EllipticCurve], str, int]] = {
    "P-256": (ec.SECP256R1, "ES256", 32),
    "P-384": (ec.SECP384R1, "ES384", 48),
    "P-521": (ec.SECP521R1, "ES512", 66),
}
_ED25519_SIGNATURE = 64
Verify = Callable[[str, bytes, bytes], bool]
"""Whether, by an algorithm, these bytes have this signature."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a ``kind`` (kty). ``algorithm`` is empty if it is for every algorithm of its kind; ``key_id`` may be empty."""

    kind: str
    key_id: str
    algorithm: str
    verify: Verify


Keys = tuple[Key, ...]


def parse_jwks(data: bytes) -> Keys:
    """The keys of a set that can be used; none if it is no set, or has none."""
    document = read_json(data)
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        return ()
    found = [_key(entry) for entry in entries[:MAX_KEYS] if isinstance(entry, dict)]
    return tuple([key for key in found if key is not None])


def verify(token: Token, keys: Keys) -> str:
    """The status of the signature of ``token``."""
    fitting = False
    for key in keys:
        if token.key_id and key.key_id and key.key_id != token.key_id:
            continue
        if key.algorithm and key.algorithm != token.algorithm:
            continue
        fitting = True
        if token.algorithm == "EdDSA" and key.kind == "OKP" and len(token.signature) != _ED25519_SIGNATURE:
            return status.SIGNATURE_WRONG_LENGTH
        if key.verify(token.algorithm, token.signed, token.signature):
            return status.OK
    return status.VERIFICATION_FAILS if fitting else status.KEY_MISMATCH


def _key(entry: Mapping[str, Any]) -> Key | None:
    kind = entry.get("kty")
    make = _KINDS.get(kind) if isinstance(kind, str) else None
    key_id, algorithm = entry.get("kid", ""), entry.get("alg", "")
    if make is None or not isinstance(key_id, str) or not isinstance(algorithm, str):
        return None
    try:
        made = make(entry)
    except ValueError:
        return None
    return None if made is None else Key(str(kind), key_id, algorithm, made)


def _number(entry: Mapping[str, Any], name: str) -> int:
    return int.from_bytes(_bytes(entry, name), "big")


def _bytes(entry: Mapping[str, Any], name: str) -> bytes:
    value = entry.get(name)
    data = base64url.decode(value.encode()) if isinstance(value, str) else None
    if not data:
        raise ValueError(name)
    return data


def _rsa(entry: Mapping[str, Any]) -> Verify:
    key = rsa.RSAPublicNumbers(_number(entry, "e"), _number(entry, "n")).public_key()

    def holds(algorithm: str, signed: bytes, signature: bytes) -> bool:
        if algorithm[:2] not in ("RS", "PS"):
            return False
        digest = _HASHES[algorithm[2:]]()
        scheme: padding.AsymmetricPadding = padding.PKCS1v15()
        if algorithm[:2] == "PS":
            scheme = padding.PSS(padding.MGF1(digest), digest.digest_size)
        return _checked(lambda: key.verify(signature, signed, scheme, digest))

    return holds


def _ec(entry: Mapping[str, Any]) -> Verify | None:
    known = _CURVES.get(str(entry.get("crv")))
    if known is None:
        return None
    curve, expected, size = known
    key = ec.EllipticCurvePublicNumbers(_number(entry, "x"), _number(entry, "y"), curve()).public_key()
    digest = _HASHES[expected[2:]]()

    def holds(algorithm: str, signed: bytes, signature: bytes) -> bool:
        if algorithm != expected or len(signature) != 2 * size:
            return False
        r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
        return _checked(lambda: key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(digest)))

    return holds


def _octets(entry: Mapping[str, Any]) -> Verify:
    secret = _bytes(entry, "k")

    def holds(algorithm: str, signed: bytes, signature: bytes) -> bool:
        if not algorithm.startswith("HS"):
            return False
        return hmac.compare_digest(hmac.digest(secret, signed, f"sha{algorithm[2:]}"), signature)

    return holds


def _okp(entry: Mapping[str, Any]) -> Verify | None:
    if entry.get("crv") != "Ed25519":
        return None
    key = Ed25519PublicKey.from_public_bytes(_bytes(entry, "x"))

    def holds(algorithm: str, signed: bytes, signature: bytes) -> bool:
        return algorithm == "EdDSA" and _checked(lambda: key.verify(signature, signed))

    return holds


def _checked(check: Callable[[], None]) -> bool:
    try:
        check()
    except (InvalidSignature, ValueError):
        return False
    return True


_KINDS: dict[str, Callable[[Mapping[str, Any]], Verify | None]] = {"RSA": _rsa, "EC": _ec, "oct": _octets, "OKP": _okp}
