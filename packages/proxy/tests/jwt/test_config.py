"""jwt_authn in configurations: what is refused, and with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import JwtAuthentication

from isthmus_proxy.config.check import check
from isthmus_proxy.config.http_filters.jwt_authn import compile_jwt_authn
from isthmus_proxy.config.parse import fill
from isthmus_proxy.errors import ConfigError
from isthmus_proxy.http.filters.jwt_authn import JwtConfig

SECRET = '{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}'
LOCAL: dict[str, Any] = {"local_jwks": {"inline_string": SECRET}}
URI = {"uri": "http://keys.test/jwks", "cluster": "keys", "timeout": "1s"}


def compiled(value: object) -> JwtConfig:
    proto = JwtAuthentication()
    fill(proto, value)
    check(proto, "jwt")
    return compile_jwt_authn(proto, "jwt")


def remote(**parts: object) -> dict[str, object]:
    return {"providers": {"p": {"remote_jwks": {"http_uri": {**URI, **parts}}}}}


def rule(requires: object) -> dict[str, object]:
    return {"providers": {"p": LOCAL}, "rules": [{"match": {"prefix": "/"}, "requires": requires}]}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"providers": {"p": {}}}, r'providers\["p"\].* needs one of remote_jwks and local_jwks'),
        ({"providers": {"p": {"local_jwks": {"inline_string": "{}"}}}}, r"local_jwks.* is no key set"),
        ({"providers": {"p": {"local_jwks": {"filename": "/none"}}}}, r"filename.* cannot be read"),
        (
            {"providers": {"p": {**LOCAL, "failed_status_in_metadata": "x"}}},
            r"failed_status_in_metadata.* not supported",
        ),
        (
            {"providers": {"p": {**LOCAL, "forward_payload_header": "a b"}}},
            r"forward_payload_header.* no name of a header",
        ),
        ({"providers": {"p": {"remote_jwks": {"http_uri": URI, "retry_policy": {}}}}}, r"retry_policy.* not supported"),
        (remote(uri="keys.test"), r"http_uri\.uri.* must be an http or https URI"),
        (remote(cluster=""), r"http_uri\.cluster.* is required"),
        (remote(timeout=None), r"http_uri\.timeout.* is required"),
        (rule({"provider_name": "q"}), r"requires\.provider_name.* there is no such provider"),
        (rule({"requires_any": {"requirements": [{"provider_name": "p"}]}}), r"requirements.* needs at least two"),
        (rule({"requires_all": {"requirements": [{"provider_name": "p"}, {}]}}), r"requirements\[1\].* says nothing"),
        ({"rules": [{"match": {"prefix": "/"}, "requirement_name": "q"}]}, r"is not in requirement_map"),
        ({"rules": [{}]}, r"rules\[0\]\.match.* is required"),
        (
            {"rules": [{"match": {"prefix": "/", "runtime_fraction": {"default_value": {"numerator": 1}}}}]},
            r"runtime_fraction",
        ),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(value: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        compiled(value)


def test_an_error_does_not_show_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(SECRET.replace("oct", "none"))
    with pytest.raises(ConfigError) as refused:
        compiled({"providers": {"p": {"local_jwks": {"filename": str(path)}}}})
    assert "c2Vj" not in str(refused.value)


def test_keys_may_be_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(SECRET)
    (provider,) = compiled({"providers": {"p": {"local_jwks": {"filename": str(path)}}}}).providers
    assert provider.local_jwks == SECRET.encode()
