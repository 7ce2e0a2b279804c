"""Rules of CORS policies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_controlplane.model.fields import FieldProblem, shown
from isthmus_controlplane.model.validate.text import check_duration, check_string_match, is_token


def check_cors(policy: Any, path: str) -> Iterator[FieldProblem]:
    """Yield what is wrong with the ``corsPolicy`` of an HTTPRoute."""
    for index, origin in enumerate(policy.allow_origins):
        yield from check_string_match(origin, f"{path}.allowOrigins[{index}]")
    for name, what, values in (
        ("allowMethods", "a method", policy.allow_methods),
        ("allowHeaders", "a header name", policy.allow_headers),
        ("exposeHeaders", "a header name", policy.expose_headers),
    ):
        for index, value in enumerate(values):
            if not is_token(value):  # "*" is a token too
                yield FieldProblem(f"{path}.{name}[{index}]", f"{shown(value)} is not {what}, nor '*'")
    if policy.HasField("max_age"):
        yield from check_duration(policy.max_age, f"{path}.maxAge", zero=True)
        if policy.max_age.nanos:
            text = policy.max_age.ToJsonString()
            yield FieldProblem(f"{path}.maxAge", f"{text} has a fraction, which the header does not: use whole seconds")
