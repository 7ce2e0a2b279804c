"""What /why says of tokens: as much as the keys that are here allow."""

from __future__ import annotations

import hmac
import json
from dataclasses import replace

import pytest

from isthmus_proxy.http.filters.jwt_authn import JwtConfig, JwtPerRoute, RequirementRule
from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.jwt import base64url
from isthmus_proxy.jwt.model import ByProvider, Provider, RemoteJwks
from isthmus_proxy.route.model import RouteMatch, StringMatch
from isthmus_proxy.why.judges import Asker, tokens

NOW = 1_700_000_000


def asker(path: bytes = b"/", token: str = "") -> Asker:
    headers = [(b"authorization", b"Bearer " + token.encode())] if token else []
    return Asker(RequestHead(b"GET", path, b"a.b", headers), "10.0.0.1:1", "10.0.0.2:80", "", {}, "c", NOW)


REMOTE = Provider("far", "f", remote_jwks=RemoteJwks("keys", b"/", b"keys", 1.0))


def token_of(claims: dict[str, object], **options: object) -> str:
    """A signed token of provider ``near``."""
    text = b".".join(base64url.encode(json.dumps(each).encode()) for each in ({"alg": "HS256", **options}, claims))
    return (text + b"." + base64url.encode(hmac.digest(b"secret", text, "sha256"))).decode()


def near() -> Provider:
    keys = {"keys": [{"kty": "oct", "k": base64url.encode(b"secret").decode()}]}
    return Provider("near", "n", local_jwks=json.dumps(keys).encode(), audiences=frozenset({"us"}))


def guarded(*providers: Provider) -> JwtConfig:
    rules = tuple(
        RequirementRule(RouteMatch(StringMatch("prefix", b"/" + each.name.encode())), ByProvider(each))
        for each in providers
    )
    return JwtConfig(providers, rules)


@pytest.mark.parametrize(
    ("path", "claims", "said"),
    [
        (b"/other", None, "lets it pass: nothing is required of it"),
        (b"/near", None, "refuses it: Jwt is missing (401)"),
        (b"/near", {"iss": "n", "aud": "us", "exp": NOW + 9}, "lets it pass: it has what is required"),
        (b"/near", {"iss": "n", "aud": "us", "exp": NOW - 999}, "refuses it: Jwt is expired (401)"),
        (b"/near", {"iss": "n", "aud": "them"}, "refuses it: Audiences in Jwt are not allowed (403)"),
        (b"/far", {"iss": "f"}, "depends on the signature of its token"),
        (b"/far", {"iss": "f", "exp": 1}, "refuses it: Jwt is expired (401)"),
    ],
)
def test_tokens_are_judged_as_far_as_their_keys_are_here(
    path: bytes, claims: dict[str, object] | None, said: str
) -> None:
    config = guarded(near(), REMOTE)
    assert tokens(config, config, asker(path, "" if claims is None else token_of(claims))).startswith(said)


def test_a_wrong_signature_is_seen() -> None:
    token = token_of({"iss": "n", "aud": "us"}).rpartition(".")[0] + ".AAAA"
    config = guarded(near())
    assert tokens(config, config, asker(b"/near", token)) == "refuses it: Jwt verification fails (401)"


def test_routes_name_what_is_required() -> None:
    config = replace(guarded(), requirements={"n": ByProvider(near())})
    for name, said in (
        ("n", "refuses it: Jwt is missing (401)"),
        ("x", "refuses it: the route names"),
        ("", "lets it"),
    ):
        assert tokens(JwtPerRoute(name), config, asker()).startswith(said)
