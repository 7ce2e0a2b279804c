"""Finds the tokens of a request, and takes them away. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from urllib.parse import unquote_to_bytes

from isthmus_proxy.http.message import Headers
from isthmus_proxy.jwt.model import Provider

P = TypeVar("P")


class Carrier:
    """The part of a request that tokens are in: its headers and its path, both changed in place."""

    __slots__ = ("headers", "path")

    def __init__(self, headers: Headers, path: bytes) -> None:
        self.headers = headers
        self.path = path

    def remove(self, name: bytes) -> None:
        """Take header ``name`` away."""
        self.headers[:] = [field for field in self.headers if field[0] != name]

    def remove_parameter(self, name: bytes) -> None:
        """Take the query parameter ``name`` away."""
        path, mark, query = self.path.partition(b"?")
        kept = [each for each in query.split(b"&") if unquote_to_bytes(each.partition(b"=")[0]) != name] if mark else []
        self.path = path + b"?" + b"&".join(kept) if kept else path


@dataclass(frozen=True, slots=True)
class Found:
    """A token, for which of the providers it was looked for there, and how to take it away."""

    text: bytes
    providers: tuple[Provider, ...]
    remove: Callable[[Carrier], None]


def find_tokens(carrier: Carrier, providers: tuple[Provider, ...]) -> list[Found]:
    """All tokens where ``providers`` have them: those of headers first, then of query parameters, then of cookies."""
    return [*_in_headers(carrier, providers), *_in_parameters(carrier, providers), *_in_cookies(carrier, providers)]


def _places(providers: tuple[Provider, ...], of: Callable[[Provider], Iterable[P]]) -> dict[P, tuple[Provider, ...]]:
    """Every place, in order, with the providers whose tokens may be there."""
    places: dict[P, tuple[Provider, ...]] = {}
    for provider in providers:
        for place in of(provider):
            places[place] = (*places.get(place, ()), provider)
    return places


def _in_headers(carrier: Carrier, providers: tuple[Provider, ...]) -> Iterable[Found]:
    for place, users in _places(providers, lambda provider: provider.headers).items():
        for name, value in carrier.headers:
            start = value.find(place.prefix) if name == place.name else -1
            if start >= 0:
                text = value[start + len(place.prefix) :].strip(b" \t")
                yield Found(text, users, partial(Carrier.remove, name=name))


def _in_parameters(carrier: Carrier, providers: tuple[Provider, ...]) -> Iterable[Found]:
    query = carrier.path.partition(b"?")[2].partition(b"#")[0]
    if not query:
        return
    values: dict[bytes, bytes] = {}
    for each in query.split(b"&"):
        name, _, value = each.partition(b"=")
        values.setdefault(unquote_to_bytes(name), unquote_to_bytes(value))
    for name, users in _places(providers, lambda provider: provider.parameters).items():
        if name in values:
            yield Found(values[name], users, partial(Carrier.remove_parameter, name=name))


def _in_cookies(carrier: Carrier, providers: tuple[Provider, ...]) -> Iterable[Found]:
    places = _places(providers, lambda provider: provider.cookies)
    values: dict[bytes, bytes] = {}
    for key, line in carrier.headers if places else ():
        if key == b"cookie":
            for pair in line.split(b";"):
                name, _, value = pair.strip().partition(b"=")
                values.setdefault(name, value.strip(b'"'))
    for name, users in places.items():
        if name in values:
            yield Found(values[name], users, _keep)


def _keep(_carrier: Carrier) -> None:
    """Tokens in cookies stay, as in Envoy."""
