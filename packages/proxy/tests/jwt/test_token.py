"""Tokens and key sets: whatever comes, the answer is a token or one of the known refusals."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from isthmus_proxy.jwt import base64url, status
from isthmus_proxy.jwt.jwks import parse_jwks, verify
from isthmus_proxy.jwt.status import TokenError
from isthmus_proxy.jwt.token import parse

KEY = ec.generate_private_key(ec.SECP256R1())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
CLAIMS = st.dictionaries(
    st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "x"]), JSON | st.just("a"), max_size=4
)


def section(value: object) -> bytes:
    return base64url.encode(json.dumps(value).encode())


def key_set(**more: object) -> bytes:
    numbers = KEY.public_key().public_numbers()
    x, y = (base64url.encode(each.to_bytes(32, "big")).decode() for each in (numbers.x, numbers.y))
    return json.dumps({"keys": [{"kty": "EC", "crv": "P-256", "x": x, "y": y, **more}]}).encode()


def signed(claims: object, **header: object) -> bytes:
    text = section({"alg": "ES256", **header}) + b"." + section(claims)
    r, s = decode_dss_signature(KEY.sign(text, ec.ECDSA(hashes.SHA256())))
    return text + b"." + base64url.encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


@given(st.binary(max_size=40) | st.lists(st.binary(max_size=9).map(base64url.encode), min_size=3).map(b".".join))
def test_any_bytes_are_a_token_or_refused(text: bytes) -> None:
    with pytest.raises(TokenError):
        parse(text)


@given(st.fixed_dictionaries({"alg": st.sampled_from(["ES256", "none"]) | JSON}, optional={"kid": JSON}), CLAIMS)
def test_any_header_and_claims_are_a_token_or_refused(header: object, claims: object) -> None:
    try:
        token = parse(section(header) + b"." + section(claims) + b".AAAA")
    except TokenError:
        return
    assert token.algorithm == "ES256"
    assert all(isinstance(each, str) for each in (token.key_id, token.issuer, token.subject, *token.audiences))
    assert all(each >= 0 for each in (token.expires, token.not_before, token.issued_at))


@given(st.binary(max_size=30))
def test_base64url_round_trips(data: bytes) -> None:
    text = base64url.encode(data)
    assert base64url.decode(text) == data
    assert base64url.decode(text + b"=") is None


def test_deep_nesting_is_no_json() -> None:
    deep = b'{"a":' * 50000 + b"1" + b"}" * 50000
    with pytest.raises(TokenError, match="header is an invalid JSON"):
        parse(base64url.encode(deep) + b".e30.AA")


@given(JSON, JSON)
def test_any_json_is_a_key_set_without_keys_at_worst(document: object, key: object) -> None:
    parse_jwks(json.dumps(document).encode())
    entry = {"kty": "EC", "crv": "P-256", "x": key, "y": key, "n": key, "e": key, "k": key}
    for kind in ("EC", "RSA", "OKP"):
        parse_jwks(json.dumps({"keys": [{**entry, "kty": kind}, key]}).encode())


@given(st.binary(max_size=20))
def test_any_bytes_are_a_key_set_without_keys_at_worst(data: bytes) -> None:
    assert parse_jwks(data) == ()


def test_every_changed_byte_of_a_token_is_noticed() -> None:
    text = signed({"iss": "a"})
    keys = parse_jwks(key_set())
    assert verify(parse(text), keys) == status.OK
    for index in range(len(text)):
        if text[index : index + 1] == b"." or index == len(text) - 1:  # the last character has bits that mean nothing
            continue
        changed = text[:index] + (b"B" if text[index : index + 1] == b"A" else b"A") + text[index + 1 :]
        try:
            token = parse(changed)
        except TokenError:
            continue
        assert verify(token, keys) != status.OK, index


@pytest.mark.parametrize(
    ("of_the_key", "of_the_token", "outcome"),
    [
        ({}, {}, status.OK),
        ({"kid": "a"}, {}, status.OK),
        ({}, {"kid": "a"}, status.OK),
        ({"kid": "a"}, {"kid": "a"}, status.OK),
        ({"kid": "a"}, {"kid": "b"}, status.KEY_MISMATCH),
        ({"alg": "ES256"}, {}, status.OK),
        ({"alg": "ES384"}, {}, status.KEY_MISMATCH),
        ({"x": base64url.encode(bytes(32)).decode()}, {}, status.KEY_MISMATCH),
    ],
)
def test_which_key_is_tried(of_the_key: dict[str, object], of_the_token: dict[str, object], outcome: str) -> None:
    assert verify(parse(signed({}, **of_the_token)), parse_jwks(key_set(**of_the_key))) == outcome
