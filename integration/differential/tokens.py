"""Tokens and key sets in case files: ``<jwt KEY[:ALGORITHM[:KID]] CLAIMS>`` and ``<jwks KEY...>`` are replaced when a file is read.

Keys are made once a process: ``rsa``, ``rsa2`` (which claims to be rsa), ``ec`` (P-256), ``ec384``, ``ec521``, ``ed``, ``oct``. The key's
own algorithm and name stand in where a token does not say others; the name ``-`` is none.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

_TOKEN = re.compile(r"<jwt (\S+) (\{.*?\})>")
_SET = re.compile(r"<jwks ([a-z0-9 ]+)>")
_CURVES = {"ec": ec.SECP256R1(), "ec384": ec.SECP384R1(), "ec521": ec.SECP521R1()}
_ALGORITHMS = {
    "rsa": "RS256",
    "rsa2": "RS256",
    "ec": "ES256",
    "ec384": "ES384",
    "ec521": "ES512",
    "ed": "EdDSA",
    "oct": "HS256",
}
_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


def replaced(text: str) -> str:
    """``text`` with its tokens and key sets."""
    text = _TOKEN.sub(lambda found: make_token(found[1], found[2]), text)
    return _SET.sub(lambda found: make_set(found[1].split()), text)


@cache
def _key(name: str) -> Any:
    if name.startswith("rsa"):
        return rsa.generate_private_key(65537, 2048)
    if name in _CURVES:
        return ec.generate_private_key(_CURVES[name])
    return ed25519.Ed25519PrivateKey.generate() if name == "ed" else b"0123456789abcdef0123456789abcdef"


def encoded(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def make_token(spec: str, claims: str) -> str:
    """A token signed as ``spec`` says."""
    name, algorithm, key_id = [*spec.split(":"), "", ""][:3]
    header = {"alg": algorithm or _ALGORITHMS[name], "typ": "JWT"}
    if key_id != "-":
        header["kid"] = key_id or name.rstrip("2")
    signed = encoded(json.dumps(header).encode()) + "." + encoded(claims.encode())
    return signed + "." + encoded(_sign(name, algorithm or _ALGORITHMS[name], signed.encode()))


def _sign(name: str, algorithm: str, data: bytes) -> bytes:
    key = _key(name)
    if isinstance(key, bytes):
        return hmac.digest(key, data, f"sha{algorithm[2:] if algorithm.startswith('HS') else 256}")
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    digest = _HASHES.get(algorithm[2:], hashes.SHA256())
    if isinstance(key, rsa.RSAPrivateKey):
        pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
        return key.sign(data, pss if algorithm.startswith("PS") else padding.PKCS1v15(), digest)
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
    size = (key.curve.key_size + 7) // 8
    return bytes(r.to_bytes(size, "big") + s.to_bytes(size, "big"))


def make_set(names: list[str]) -> str:
    """A key set in JSON."""
    return json.dumps({"keys": [_public(name) for name in names]})


def _public(name: str) -> dict[str, str]:
    key = _key(name)
    if isinstance(key, bytes):
        return {"kty": "oct", "kid": name, "k": encoded(key)}
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return {"kty": "OKP", "crv": "Ed25519", "kid": name, "x": encoded(key.public_key().public_bytes_raw())}
    numbers = key.public_key().public_numbers()
    if isinstance(key, rsa.RSAPrivateKey):
        return {"kty": "RSA", "kid": name, "n": _integer(numbers.n), "e": _integer(numbers.e)}
    size = (key.curve.key_size + 7) // 8
    curve = {256: "P-256", 384: "P-384", 521: "P-521"}[key.curve.key_size]
    return {"kty": "EC", "kid": name, "crv": curve, "x": _integer(numbers.x, size), "y": _integer(numbers.y, size)}


def _integer(value: int, size: int = 0) -> str:
    return encoded(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))
