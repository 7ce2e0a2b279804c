"""A filter to begin with: greets the upstream, and refuses clients that it does not know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isthmus_proxy.extension import Exchange, FilterContext, HttpFilter, Reply, RequestHeaders, ResponseHeaders


@dataclass(frozen=True, slots=True)
class Config:
    """``greeting`` goes to the upstream; ``clients`` are the values of ``x-client`` that may pass, empty for all."""

    greeting: str
    clients: frozenset[str]


class Greeting(HttpFilter[Config]):
    """One object for each place where it is configured, in each worker. Override the hooks that you need, delete the others."""

    def __init__(self, config: Config, context: FilterContext) -> None:
        super().__init__(config, context)
        self.refused = context.counter("refused")

    @classmethod
    def parse_config(cls, values: Mapping[str, Any]) -> Config:
        """Refuse what cannot be meant: the proxy then keeps its last good configuration. Name the field."""
        if unknown := values.keys() - {"greeting", "clients"}:
            raise ValueError(f"{', '.join(sorted(unknown))}: no such field")
        clients = values.get("clients", [])
        if not isinstance(clients, list):
            raise ValueError("clients: must be a list of names")  # noqa: TRY004 - what the proxy shows without its kind
        return Config(str(values.get("greeting", "hello")), frozenset(map(str, clients)))

    def on_request_headers(self, exchange: Exchange, headers: RequestHeaders) -> Reply | None:
        """A plain method runs at once and holds up its worker: keep it short. Make it ``async def`` to wait for anything."""
        config = self.config_for(exchange)  # the route's, where it has one
        if config.clients and headers.get("x-client") not in config.clients:
            self.refused.value += 1
            return Reply(403, b"unknown client\n", details="greeting_unknown_client")
        headers.set("x-greeting", config.greeting)
        exchange.set_metadata("greeting", {"said": config.greeting})  # %DYNAMIC_METADATA(greeting:said)% in access logs
        return None

    def on_response_headers(self, exchange: Exchange, headers: ResponseHeaders) -> None:
        """The way back."""
        headers.set("x-greeted", "yes")
