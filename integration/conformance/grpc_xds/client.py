"""Run as a program: a gRPC client of ``xds:///TARGET`` that makes one call per line it reads; ``k=v`` words are its metadata.

A process of its own, because gRPC reads its bootstrap once, from the environment. It answers each line with one of its own:
the name of the backend, or ``error CODE details``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

import grpc

METHOD = "/test.Who/Ask"
DEADLINE_S = 5.0


def main(target: str) -> None:
    """Answer lines until there are no more."""
    with grpc.insecure_channel(f"xds:///{target}") as channel:
        open_method: Any = channel.unary_unary  # bytes need no serializers, which its stubs ask for
        ask = open_method(METHOD)
        for line in sys.stdin:
            print(_call(ask, line.split()), flush=True)


def _call(ask: Callable[..., bytes], words: Iterable[str]) -> str:
    metadata = tuple((key, value) for key, _, value in (word.partition("=") for word in words))
    try:
        return ask(b"", metadata=metadata, timeout=DEADLINE_S, wait_for_ready=True).decode()
    except grpc.RpcError as error:
        code, details = error.code().name, error.details()
        return f"error {code} {details}".replace("\n", " ")


if __name__ == "__main__":
    main(sys.argv[1])
