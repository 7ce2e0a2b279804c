"""Checks over HTTP: the request's own head goes to the service, whose status decides."""

from __future__ import annotations

from functools import lru_cache

from isthmus_proxy.authz.model import FAILED, Asked, Fields, HttpServer, Patterns, Verdict
from isthmus_proxy.http.cluster_call import Answer
from isthmus_proxy.http.message import Headers, RequestHead
from isthmus_proxy.route.matcher import StringTest, string_test

_ALWAYS_TOLD = frozenset({b"authorization"})
_ALWAYS_TO_CLIENT = frozenset({b"www-authenticate", b"location", b"content-length"})
_NEVER_TO_CLIENT = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection", b"date"})
_REMOVE = b"x-envoy-auth-headers-to-remove"
PARTIAL = b"x-envoy-auth-partial-body"


@lru_cache(1024)
def tests(patterns: Patterns) -> tuple[StringTest, ...]:
    """Compile patterns of header names."""
    return tuple(map(string_test, patterns))


def allowed(name: bytes, patterns: Patterns) -> bool:
    """Whether one of ``patterns`` fits ``name``."""
    return any(test(name) for test in tests(patterns))


def told(name: bytes, allowed_headers: Patterns | None, disallowed: Patterns, *, http: bool) -> bool:
    """Whether the service is told header ``name``. Over HTTP nothing is by default but what it needs, over gRPC everything."""
    if allowed(name, disallowed):
        return False
    if http and name in _ALWAYS_TOLD:
        return True
    if allowed_headers is None:
        return not http
    return allowed(name, allowed_headers)


def check_request(asked: Asked, server: HttpServer) -> tuple[RequestHead, bytes]:
    """The request that asks, without what every request of the proxy itself has."""
    headers: Headers = [(b"content-length", b"%d" % len(asked.body))]
    headers += [each for each in asked.headers if each[0] not in (b"content-length", b"transfer-encoding")]
    if asked.partial is not None:
        headers.append((PARTIAL, b"true" if asked.partial else b"false"))
    added = {name for name, _ in server.headers_to_add}
    headers = [each for each in headers if each[0] not in added]
    headers += server.headers_to_add
    return RequestHead(asked.method, server.path_prefix + asked.path, asked.authority, headers), asked.body


def read_answer(answer: Answer, server: HttpServer) -> Verdict:
    """What the answer means: 200 lets pass, a server error is none, all else refuses."""
    if answer.status >= 500:
        return FAILED
    if answer.status != 200:
        return Verdict("denied", answer.status, answer.body, to_client=_to_client(answer, server))
    names = ",".join(value.decode("latin-1") for name, value in answer.headers if name == _REMOVE).lower()
    return Verdict(
        "ok",
        set=_chosen(answer, server.upstream),
        append=_chosen(answer, server.append),
        remove=tuple(name.strip().encode() for name in names.split(",") if name.strip()),
        client_add=_chosen(answer, server.client_on_success),
        metadata={name.decode("latin-1"): value.decode("latin-1") for name, value in _chosen(answer, server.metadata)},
    )


def _chosen(answer: Answer, patterns: Patterns) -> Fields:
    return tuple(each for each in answer.headers if allowed(each[0], patterns)) if patterns else ()


def _to_client(answer: Answer, server: HttpServer) -> Fields:
    if not server.client:
        return tuple(each for each in answer.headers if each[0] not in _NEVER_TO_CLIENT)
    return tuple(
        each
        for each in answer.headers
        if each[0] not in _NEVER_TO_CLIENT and (each[0] in _ALWAYS_TO_CLIENT or allowed(each[0], server.client))
    )
