"""Decides whether the tokens of a request are what is required, and what good ones change. Pure: keys come from a look-up.

Requirements are looked at in order; what a good token changes (headers that are taken away or added) the next one sees. Where
keys are not there yet, KeysNeededError says whose; the whole is then done anew from the request as it came.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from isthmus_proxy.http.message import Headers
from isthmus_proxy.jwt import status
from isthmus_proxy.jwt.extract import Carrier, Found, find_tokens
from isthmus_proxy.jwt.model import Allowing, ByProvider, Provider, Requirement, RequiresAll, RequiresAny
from isthmus_proxy.jwt.status import TokenError
from isthmus_proxy.jwt.token import Token
from isthmus_proxy.route.matcher import string_test


class KeysNeededError(Exception):
    """The keys of ``provider`` are not there yet."""

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider.name)
        self.provider = provider


@dataclass(frozen=True, slots=True)
class Read:
    """A token as it was read. ``verified``: its signature has been found good before."""

    token: Token
    verified: bool


@dataclass(frozen=True, slots=True)
class Verifier:
    """How tokens are read and verified.

    ``read(provider, text)`` raises TokenError; ``verify(provider, text, token)`` answers a status, or raises KeysNeededError.
    ``now`` is the time in seconds since 1970.
    """

    read: Callable[[Provider | None, bytes], Read]
    verify: Callable[[Provider, bytes, Token], str]
    now: int


class Authentication:
    """One request under one requirement. ``carrier`` and ``metadata`` are what good tokens make of the request."""

    __slots__ = ("_verifier", "carrier", "clear_route_cache", "metadata")

    def __init__(self, headers: Headers, path: bytes, verifier: Verifier) -> None:
        self.carrier = Carrier(list(headers), path)
        self.metadata: dict[str, Any] = {}
        self.clear_route_cache = False
        self._verifier = verifier

    def meets(self, requirement: Requirement) -> str:
        """The status of ``requirement``: OK if it is met. Raises KeysNeededError."""
        if isinstance(requirement, ByProvider):
            provider = requirement.provider
            return self._authenticate((provider,), provider, requirement.audiences)
        if isinstance(requirement, RequiresAll):
            for each in requirement.requirements:
                found = self.meets(each)
                if found != status.OK:
                    return found
            return status.OK
        if isinstance(requirement, RequiresAny):
            return self._any(requirement)
        return self._allowing(requirement)

    def _any(self, requirement: RequiresAny) -> str:
        final = status.MISSING
        for each in requirement.requirements:
            found = self.meets(each)
            if found == status.OK:
                return found
            # What is wrong with a token tells more than that it is another issuer's, and that more than that there is none.
            if found not in (status.MISSING, status.UNKNOWN_ISSUER) or final == status.MISSING:
                final = found
        if requirement.failed or (requirement.missing and final == status.MISSING):
            return status.OK
        return final

    def _allowing(self, requirement: Allowing) -> str:
        found = self._authenticate(requirement.providers, None, None, stop=not requirement.failed)
        return status.OK if requirement.failed or found == status.MISSING else found

    def _authenticate(
        self,
        providers: tuple[Provider, ...],
        provider: Provider | None,
        audiences: frozenset[str] | None,
        *,
        stop: bool = True,
    ) -> str:
        """All tokens have to be good; the last one found is looked at first. ``stop``: at the first that is bad."""
        self._sanitize(providers)
        found = status.MISSING
        for each in reversed(find_tokens(self.carrier, providers)):
            try:
                found = self._check(each, provider, audiences)
            except TokenError as error:
                found = str(error)
            if stop and found != status.OK:
                break
        return found

    def _sanitize(self, providers: tuple[Provider, ...]) -> None:
        """A client must not say itself what good tokens would say."""
        for provider in providers:
            if provider.payload_header:
                self.carrier.remove(provider.payload_header)
            for header, _ in provider.claims:
                self.carrier.remove(header)

    def _check(self, found: Found, provider: Provider | None, audiences: frozenset[str] | None) -> str:
        read = self._verifier.read(provider, found.text)
        token = read.token
        known = [each for each in found.providers if each.issuer in ("", token.issuer)]
        if not known:
            return status.UNKNOWN_ISSUER
        chosen = provider or max(known, key=lambda each: bool(each.issuer))
        outcome = _claims_status(
            token, chosen, chosen.audiences if audiences is None else audiences, self._verifier.now
        )
        if outcome == status.OK and not read.verified:
            outcome = self._verifier.verify(chosen, found.text, token)
        if outcome == status.OK:
            self._forward(found, chosen, token)
        return outcome

    def _forward(self, found: Found, provider: Provider, token: Token) -> None:
        """What a good token changes."""
        carrier = self.carrier
        if provider.payload_header:
            text = token.payload_text
            padding = b"=" * (-len(text) % 4) if provider.pad_payload_header else b""
            carrier.headers.append((provider.payload_header, text + padding))
        for header, path in provider.claims:
            value = _claim_text(_claim(token.payload, path))
            if value:
                carrier.headers.append((header, value))
                self.clear_route_cache = self.clear_route_cache or provider.clear_route_cache
        if not provider.forward:
            found.remove(carrier)
        if provider.header_in_metadata:
            self.metadata[provider.header_in_metadata] = dict(token.header)
        if provider.payload_in_metadata:
            self.metadata[provider.payload_in_metadata] = _split(token.payload, provider.space_delimited_claims)
            self.clear_route_cache = self.clear_route_cache or provider.clear_route_cache


def _claims_status(token: Token, provider: Provider, audiences: frozenset[str], now: int) -> str:
    if token.not_before > now + provider.clock_skew:
        return status.NOT_YET_VALID
    if token.expires and token.expires + provider.clock_skew < now:
        return status.EXPIRED
    if not _lives_as_allowed(token, provider, now):
        return status.VERIFICATION_FAILS
    if provider.subjects is not None and not string_test(provider.subjects)(token.subject.encode()):
        return status.VERIFICATION_FAILS
    return status.OK if _for_us(token.audiences, audiences) else status.AUDIENCE_NOT_ALLOWED


def _lives_as_allowed(token: Token, provider: Provider, now: int) -> bool:
    if not provider.require_expiration and provider.max_lifetime is None:
        return True
    if not token.expires:
        return False
    return provider.max_lifetime is None or token.expires - now <= provider.max_lifetime


def _for_us(audiences: tuple[str, ...], allowed: frozenset[str]) -> bool:
    return not allowed or any(_bare(each) in allowed for each in audiences)


def _bare(audience: str) -> str:
    """An audience without its scheme and the slash at its end, which do not count, as in Envoy."""
    for scheme in ("https://", "http://"):
        audience = audience.removeprefix(scheme)
    return audience.removesuffix("/")


def bare_audiences(audiences: list[str]) -> frozenset[str]:
    """Audiences as they are compared."""
    return frozenset(map(_bare, audiences))


def _claim(payload: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = payload
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _claim_text(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, int | float):
        return b"%d" % value if value == int(value) else b"%f" % value
    if isinstance(value, dict | list):
        return b64encode(json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True).encode())
    return b""


def _split(payload: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """``payload``, with the words of the claims ``names`` as lists."""
    split = {name: payload[name].split() for name in names if isinstance(payload.get(name), str)}
    return {**payload, **split}
