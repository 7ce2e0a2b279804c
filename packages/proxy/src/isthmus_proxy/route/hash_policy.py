"""What of a request decides which endpoint serves it: evaluates the hash policies of a route. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isthmus_proxy.cluster.hashing import xx_hash_64
from isthmus_proxy.http.message import RequestHead
from isthmus_proxy.route.hash_policy_model import CookieHash, HashPolicy, HeaderHash, QueryParameterHash
from isthmus_proxy.route.matcher import query_value, reader
from isthmus_proxy.route.regex import substitute

_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Client:
    """The client's side of the connection, for policies that hash it: its IP address, and both addresses with ports."""

    ip: str
    remote: str
    local: str


def hash_request(
    policies: Sequence[HashPolicy], request: RequestHead, client: Client
) -> tuple[int | None, tuple[bytes, ...]]:
    """Return the hash of ``request``, None if no policy gives one, and the values of set-cookie for the response."""
    combined: int | None = None
    cookies: list[bytes] = []
    for policy in policies:
        found = _hash(policy, request, client, cookies)
        if found is not None:
            # Turned before it is combined, so that two equal hashes do not cancel each other.
            combined = found if combined is None else ((combined << 1 | combined >> 63) & _MASK) ^ found
        if policy.terminal and combined is not None:
            break
    return combined, tuple(cookies)


def _hash(policy: HashPolicy, request: RequestHead, client: Client, cookies: list[bytes]) -> int | None:
    if isinstance(policy, HeaderHash):
        return _hash_header(policy, request)
    if isinstance(policy, CookieHash):
        return _hash_cookie(policy, request, client, cookies)
    if isinstance(policy, QueryParameterHash):
        value = query_value(request.path, policy.name)
        return None if value is None else xx_hash_64(value)
    return xx_hash_64(client.ip.encode()) if client.ip else None


def _hash_header(policy: HeaderHash, request: RequestHead) -> int | None:
    values = reader(policy.name)(request)
    if not values:
        return None
    if policy.rewrite is not None:
        values = tuple([substitute(*policy.rewrite, value) for value in values])
    return xx_hash_64(b"".join(sorted(values)))


def _hash_cookie(policy: CookieHash, request: RequestHead, client: Client, cookies: list[bytes]) -> int | None:
    value = cookie_value(request, policy.name)
    if not value:
        if policy.ttl is None:
            return None
        # The same for all requests of a connection, so that those which race get one cookie.
        value = b"%016x" % xx_hash_64((client.remote + client.local).encode())
        cookies.append(_set_cookie(policy, value))
    return xx_hash_64(value)


def cookie_value(request: RequestHead, name: bytes) -> bytes:
    """Return the value of the first cookie ``name``, without quotes; empty when there is none."""
    for key, header in request.headers:
        if key != b"cookie":
            continue
        for pair in header.split(b";"):
            found, equals, value = pair.strip(b" \t").partition(b"=")
            if equals and found == name:
                return value[1:-1] if len(value) >= 2 and value[:1] == value[-1:] == b'"' else value
    return b""


def _set_cookie(policy: CookieHash, value: bytes) -> bytes:
    text = b'%b="%b"' % (policy.name, value)
    if policy.ttl:
        text += b"; Max-Age=%d" % policy.ttl
    if policy.path:
        text += b"; Path=" + policy.path
    for name, setting in policy.attributes:
        text += b"; " + (name + b"=" + setting if setting else name)
    return text + b"; HttpOnly"
