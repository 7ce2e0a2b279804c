"""Reads a token in compact form (RFC 7519, RFC 7515). Nothing is verified here. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isthmus_proxy.jwt import base64url, status
from isthmus_proxy.jwt.status import TokenError

ALGORITHMS = frozenset(f"{family}{size}" for family in ("RS", "PS", "ES", "HS") for size in ("256", "384", "512")) | {
    "EdDSA"
}
_MAX_TIME = 2**63


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it says of itself. Times are seconds since 1970, 0 if it does not name them.

    ``signed`` is what ``signature`` is of; ``payload_text`` the payload as it came.
    """

    algorithm: str
    key_id: str
    issuer: str
    subject: str
    audiences: tuple[str, ...]
    not_before: int
    expires: int
    issued_at: int
    header: Mapping[str, Any]
    payload: Mapping[str, Any]
    payload_text: bytes
    signed: bytes
    signature: bytes


def parse(text: bytes) -> Token:
    """Read ``text``. Raises TokenError."""
    parts = text.split(b".")
    if len(parts) != 3 or not all(parts):
        raise TokenError(status.BAD_FORMAT)
    header = _object(parts[0], status.HEADER_BAD_BASE64, status.HEADER_BAD_JSON)
    algorithm = header.get("alg")
    if not isinstance(algorithm, str):
        raise TokenError(status.HEADER_BAD_ALG)
    if algorithm not in ALGORITHMS:
        raise TokenError(status.HEADER_UNKNOWN_ALG)
    key_id = header.get("kid", "")
    if not isinstance(key_id, str):
        raise TokenError(status.HEADER_BAD_KID)
    payload = _object(parts[1], status.PAYLOAD_BAD_BASE64, status.PAYLOAD_BAD_JSON)
    issuer, subject = _text(payload, "iss"), _text(payload, "sub")
    issued_at, not_before, expires = _time(payload, "iat"), _time(payload, "nbf"), _time(payload, "exp")
    _text(payload, "jti")
    audiences = _audiences(payload)
    signature = base64url.decode(parts[2])
    if signature is None:
        raise TokenError(status.SIGNATURE_BAD_BASE64)
    signed = text[: len(parts[0]) + 1 + len(parts[1])]
    return Token(
        algorithm, key_id, issuer, subject, audiences, not_before, expires, issued_at, header, payload, parts[1], signed, signature
    )  # fmt: skip


def _object(text: bytes, bad_base64: str, bad_json: str) -> dict[str, Any]:
    data = base64url.decode(text)
    if data is None:
        raise TokenError(bad_base64)
    value = read_json(data)
    if not isinstance(value, dict):
        raise TokenError(bad_json)
    return value


def read_json(data: bytes) -> Any:
    """The value of a JSON text in UTF-8; None if it is none, or null."""
    try:
        return json.loads(data.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None


def _no_constant(name: str) -> object:
    raise ValueError(name)  # NaN and Infinity are no JSON


def _text(payload: Mapping[str, Any], name: str) -> str:
    value = payload.get(name, "")
    if not isinstance(value, str):
        raise TokenError(status.PAYLOAD_NOT_STRING % name)
    return value


def _time(payload: Mapping[str, Any], name: str) -> int:
    value = payload.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenError(status.PAYLOAD_NOT_INTEGER % name)
    if not 0 <= value < _MAX_TIME:
        raise TokenError(status.PAYLOAD_OUT_OF_RANGE % name)
    return int(value)


def _audiences(payload: Mapping[str, Any]) -> tuple[str, ...]:
    value = payload.get("aud", [])
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise TokenError(status.PAYLOAD_BAD_AUD)
    return tuple(values)
