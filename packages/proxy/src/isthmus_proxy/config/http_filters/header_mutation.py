"""Compiles envoy.extensions.filters.http.header_mutation.v3."""

from __future__ import annotations

from typing import Any

from isthmus_proxy.config.header_edits import compile_mutation
from isthmus_proxy.config.parse import join
from isthmus_proxy.http.filters.header_mutation import HeaderMutationConfig, Mutations


def compile_header_mutation(proto: Any, path: str) -> HeaderMutationConfig:
    """Compile the filter's own message. Raises ConfigError."""
    return HeaderMutationConfig(_mutations(proto.mutations, path), proto.most_specific_header_mutations_wins)


def compile_header_mutation_per_route(proto: Any, path: str) -> Mutations:
    """Compile a route's message. Raises ConfigError."""
    return _mutations(proto.mutations, path)


def _mutations(proto: Any, path: str) -> Mutations:
    path = join(path, "mutations")
    request, response = join(path, "request_mutations"), join(path, "response_mutations")
    return Mutations(
        tuple(compile_mutation(each, f"{request}[{i}]") for i, each in enumerate(proto.request_mutations)),
        tuple(compile_mutation(each, f"{response}[{i}]") for i, each in enumerate(proto.response_mutations)),
    )
