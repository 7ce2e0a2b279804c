"""Gives every client a variant, by weights, and keeps it with that variant by a cookie.

Routes see the variant in a header (``x-variant``), which the filter sets before the route is chosen: one route with a header
match for each variant sends it where it belongs. The header is set for the upstream as well, and logged as dynamic metadata.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isthmus_proxy.extension import Exchange, FilterContext, HttpFilter, Reply, RequestHeaders, ResponseHeaders

_TOKEN = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Config:
    """``variants``: names and weights. ``max_age``: seconds for which a client keeps its variant."""

    variants: tuple[tuple[str, int], ...]
    cookie: str = "variant"
    header: str = "x-variant"
    max_age: int = 30 * 24 * 3600

    @property
    def names(self) -> frozenset[str]:
        """The names of the variants."""
        return frozenset(name for name, _ in self.variants)


class AbCookie(HttpFilter[Config]):
    """See the module."""

    def __init__(self, config: Config, context: FilterContext) -> None:
        super().__init__(config, context)
        self.assigned = {name: context.counter(f"assigned.{name}") for name in config.names}

    @classmethod
    def parse_config(cls, values: Mapping[str, Any]) -> Config:
        """Weights are whole numbers; at least one is more than zero."""
        variants = values.get("variants")
        if not isinstance(variants, dict) or not variants:
            raise ValueError("variants: needs a mapping of names to weights")
        for name, weight in variants.items():
            if not _TOKEN.fullmatch(name) or not isinstance(weight, int) or weight < 0:
                raise ValueError(f"variants.{name}: the name must be a token and the weight a whole number")
        if not sum(variants.values()):
            raise ValueError("variants: all weights are zero")
        cookie = str(values.get("cookie", "variant"))
        if not _TOKEN.fullmatch(cookie):
            raise ValueError("cookie: must be a token")
        default = Config(())
        header, max_age = str(values.get("header", default.header)), int(values.get("max_age", default.max_age))
        return Config(tuple(variants.items()), cookie, header, max_age)

    def draw(self) -> float:
        """A number in [0, 1)."""
        return random.random()

    def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> None:
        """Find out the client's variant, or draw one."""
        config = self.config
        variant = cookie_of(headers, config.cookie)
        if variant not in config.names:
            variant = exchange.state = pick(config.variants, self.draw())
            self.assigned[variant].value += 1
        headers.set(config.header, variant)
        exchange.set_metadata("ab_cookie", {"variant": variant})
        exchange.reroute()

    def on_response_headers(self, exchange: Exchange, headers: ResponseHeaders) -> None:
        """Tell a client that is new of its variant."""
        if exchange.state is not None:
            headers.add("set-cookie", self._cookie(exchange.state))

    def on_local_reply(self, exchange: Exchange, reply: Reply) -> Reply | None:
        """The same where the proxy answers: the client's next request then goes to the same variant."""
        if exchange.state is None:
            return None
        fields = (*reply.headers, ("set-cookie", self._cookie(exchange.state)))
        return Reply(reply.status, reply.body, fields, reply.details, reply.grpc_status)

    def _cookie(self, variant: str) -> str:
        config = self.config
        return f"{config.cookie}={variant}; Path=/; Max-Age={config.max_age}; SameSite=Lax"


def cookie_of(headers: RequestHeaders, name: str) -> str | None:
    """The value of the request's cookie ``name``."""
    for line in headers.get_all("cookie"):
        for pair in line.split(";"):
            key, _, value = pair.strip().partition("=")
            if key == name:
                return value.strip('"')
    return None


def pick(variants: tuple[tuple[str, int], ...], draw: float) -> str:
    """The variant at ``draw`` (in [0, 1)) of the sum of all weights."""
    at = draw * sum(weight for _, weight in variants)
    for name, weight in variants:
        at -= weight
        if at < 0:
            return name
    return next(name for name, weight in reversed(variants) if weight)
