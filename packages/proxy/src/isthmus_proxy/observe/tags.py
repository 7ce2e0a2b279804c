"""Envoy's tag extraction: which part of a dotted stat name is a label, and what the name is called without it.

Envoy finds the cluster name by a regular expression and cuts a name with dots short; here the scope that made the stat
knows its whole name, so ``cluster.outbound|80||a.b.svc.upstream_rq_total`` is labelled with all of it.
"""

from __future__ import annotations

import re
from functools import lru_cache

Tags = tuple[tuple[str, str], ...]
"""(label, value) pairs in the order in which they are printed."""

_PREFIXES: tuple[tuple[re.Pattern[str], str, tuple[str, ...]], ...] = (
    (re.compile(r"cluster\.(.+)", re.DOTALL), "cluster", ("envoy_cluster_name",)),
    (
        re.compile(r"http\.(.+?)\.rds\.(.+)", re.DOTALL),
        "http.rds",
        ("envoy_http_conn_manager_prefix", "envoy_rds_route_config"),
    ),
    (re.compile(r"http\.(.+)", re.DOTALL), "http", ("envoy_http_conn_manager_prefix",)),
    (
        re.compile(r"vhost\.(.+?)\.vcluster\.(.+)", re.DOTALL),
        "vhost.vcluster",
        ("envoy_virtual_host", "envoy_virtual_cluster"),
    ),
    (re.compile(r"vhost\.(.+?)\.route\.(.+)", re.DOTALL), "vhost.route", ("envoy_virtual_host", "envoy_route")),
    (re.compile(r"tcp\.(.+)", re.DOTALL), "tcp", ("envoy_tcp_prefix",)),
    (re.compile(r"listener\.admin\.http\.(.+)", re.DOTALL), "listener.admin.http", ("envoy_http_conn_manager_prefix",)),
    (
        re.compile(r"listener\.(?!admin$)(.+?)\.worker_(\d+)", re.DOTALL),
        "listener",
        ("envoy_listener_address", "envoy_worker_id"),
    ),
    (
        re.compile(r"listener\.(?!admin\.)(.+)\.http\.(.+)", re.DOTALL),
        "listener.http",
        ("envoy_listener_address", "envoy_http_conn_manager_prefix"),
    ),
    (re.compile(r"listener\.(?!admin$)(.+)", re.DOTALL), "listener", ("envoy_listener_address",)),
)

_CODE = re.compile(r"((?:.*\.)?(?:upstream|downstream)_rq)_(?:(\d)xx|(\d{3}))")


_FIRST = {"envoy_worker_id": 0, "envoy_virtual_host": 1, "envoy_virtual_cluster": 0, "envoy_route": 2}


def _place(tag: tuple[str, str]) -> tuple[int, str]:
    """Labels stand in the order in which Envoy finds them, which is alphabetical for most."""
    return _FIRST.get(tag[0], 3), tag[0]


def of_prefix(prefix: str) -> tuple[str, Tags]:
    """The scope prefix without its values, and its labels in Envoy's order."""
    for pattern, short, labels in _PREFIXES:
        found = pattern.fullmatch(prefix)
        if found is not None:
            return short, tuple(sorted(zip(labels, found.groups(), strict=True), key=_place))
    return prefix, ()


@lru_cache(maxsize=4096)
def of_name(name: str) -> tuple[str, Tags]:
    """The stat's own name without a response code, and the code as label (``upstream_rq_503``, ``upstream_rq_5xx``)."""
    found = _CODE.fullmatch(name)
    if found is None:
        return name, ()
    stem, code_class, code = found.groups()
    if code_class is not None:
        return f"{stem}_xx", (("envoy_response_code_class", code_class),)
    return stem, (("envoy_response_code", code),)
