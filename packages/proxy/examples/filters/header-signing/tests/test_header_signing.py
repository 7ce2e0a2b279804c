from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from isthmus_filter_header_signing import DIGEST, SIGNATURE, HeaderSigning, verify

from isthmus_proxy.extension import RequestHeaders
from isthmus_proxy.extension.testing import exchange, make_filter
from isthmus_proxy.http.filters.python.loading import load_filter

KEY = b"a key of the test's own"
NOW = 1_700_000_000.0


class Signing(HeaderSigning):
    def now(self) -> float:
        return NOW


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    path = tmp_path / "key"
    path.write_bytes(KEY + b"\n")
    return str(path)


def signed(key_file: str, request: RequestHeaders, body: bytes = b"", **values: Any) -> RequestHeaders:
    signing = make_filter(Signing, {"key_file": key_file, **values})
    outcome = exchange(signing, request, body=body, buffer_request=bool(values.get("sign_body")))
    assert outcome.sent is not None
    return outcome.sent


def test_it_is_installed() -> None:
    assert load_filter("header-signing", "filter") is HeaderSigning


def test_an_upstream_can_verify_what_it_gets(key_file: str) -> None:
    request = RequestHeaders("GET", "/a?b=c", "shop", [("x-user", "ann"), ("x-user", "bob")])
    sent = signed(key_file, request, headers=["X-User"], key_id="k1")
    assert sent.get(SIGNATURE, "").startswith("k1=")
    assert verify(KEY, sent, ["x-user"], now=NOW + 10)


@pytest.mark.parametrize("change", ["method", "path", "authority", "header", "signature", "time", "key", "late"])
def test_nothing_that_is_signed_can_be_changed(key_file: str, change: str) -> None:
    sent = signed(key_file, RequestHeaders("GET", "/", "shop", [("x-user", "ann")]), headers=["x-user"])
    key, now = KEY, NOW
    if change in ("method", "path", "authority"):
        setattr(sent, change, {"method": "PUT", "path": "/x", "authority": "other"}[change])
    elif change == "header":
        sent.set("x-user", "bob")
    elif change == "signature":
        sent.set(SIGNATURE, "default=00")
    elif change == "time":
        sent.set("x-signature-time", str(int(NOW) + 1))
    elif change == "key":
        key = b"another"
    else:
        now += 301
    assert not verify(key, sent, ["x-user"], now=now)


def test_a_client_cannot_bring_a_signature(key_file: str) -> None:
    forged = RequestHeaders("GET", "/", "shop", [(SIGNATURE, "default=1"), (SIGNATURE, "default=2")])
    assert len(signed(key_file, forged).get_all(SIGNATURE)) == 1


@pytest.mark.parametrize("body", [b"", b"abc"])
def test_bodies_are_signed_by_their_digest(key_file: str, body: bytes) -> None:
    sent = signed(key_file, RequestHeaders("POST", "/", "shop"), body, sign_body=True)
    assert verify(KEY, sent, [DIGEST], now=NOW)
    sent.set(DIGEST, "0" * 64)
    assert not verify(KEY, sent, [DIGEST], now=NOW)


def test_a_key_is_needed_and_never_shown(tmp_path: Path, key_file: str) -> None:
    assert "key of the test" not in repr(HeaderSigning.parse_config({"key_file": key_file}))
    short = tmp_path / "short"
    short.write_bytes(b"short")
    for values in ({}, {"key_file": str(tmp_path / "none")}, {"key_file": str(short)}):
        with pytest.raises(ValueError, match="key_file"):
            make_filter(HeaderSigning, values)
