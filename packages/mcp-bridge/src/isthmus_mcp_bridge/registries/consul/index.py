"""Consul's rules for the index of a blocking query; pure (developer.hashicorp.com/consul/api-docs/features/blocking)."""

from __future__ import annotations

from collections.abc import Mapping

HEADER = "X-Consul-Index"


def next_index(previous: int, headers: Mapping[str, str]) -> int:
    """The index for the next query, after an answer with these headers; 0 does not block.

    An index that went backwards (the server was restored, or another one answers) starts over with 0. An index of 0, or a
    missing one, counts as 1, so that the next query blocks instead of spinning.
    """
    text = headers.get(HEADER, "")
    index = int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else 0
    if index < 1:
        return 1
    return 0 if index < previous else index
