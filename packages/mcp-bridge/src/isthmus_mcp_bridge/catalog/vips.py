"""Virtual addresses that stay with their services and are equal in all replicas. Pure.

A service's first choice is the hash of its ``namespace/host`` in the network, its second choice the hash with 1 appended,
and so on. Of two services that want the same address the one that is older (then the one whose name sorts first) has it,
whichever came first, so replicas that saw them in other orders agree. An address that was given up is kept free for
``quarantine_s``: clients may still hold connections and DNS answers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
from collections.abc import Mapping

from isthmus_mcp_bridge.catalog.alarm import Alarms
from isthmus_mcp_bridge.errors import BridgeError
from isthmus_mcp_bridge.model import ServiceKey

MAX_TRIES = 64
"""Choices tried for one service; a network that is less than half full never comes near."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Claimant = tuple[int, ServiceKey]
"""When the service was first registered (ms), and the service; the smaller one has the address."""


class NoAddressLeft(BridgeError):  # noqa: N818 - a state of the table, which more addresses end
    """The network is too small for the services."""


@dataclasses.dataclass(frozen=True, slots=True)
class VipRange:
    """Where addresses are taken from, and for how long one rests after its service has gone (seconds)."""

    network: Network
    quarantine_s: float = 3600.0


class VipTable:
    """Who has which address, and which ones rest."""

    def __init__(self, settings: VipRange) -> None:
        self._settings = settings
        self._holders: dict[str, Claimant] = {}
        self._addresses: dict[ServiceKey, str] = {}
        self._resting: Alarms[str] = Alarms()
        self._rested: dict[str, tuple[ServiceKey, float]] = {}
        self._reserved: dict[ServiceKey, str] = {}
        """The resting address of a service that may come back."""
        self._unsaved: dict[str, None] = {}
        self.collisions = 0
        """How often a service did not get its first choice."""

    @property
    def addresses(self) -> Mapping[ServiceKey, str]:
        """The address of each service."""
        return self._addresses

    @property
    def resting(self) -> Mapping[str, tuple[ServiceKey, float]]:
        """Addresses that nobody may have yet: whose they were, and until when."""
        return self._rested

    def take(self, key: ServiceKey, created_ms: int) -> tuple[str, list[ServiceKey]]:
        """The service's address, and the services that lose theirs to it. Raises NoAddressLeft."""
        claimant = (created_ms, key)
        known = self._addresses.get(key)
        if known is not None and self._holders[known] == claimant:
            return known, []
        if known is not None:
            self._holders[known] = claimant
            return known, []
        own = self._reserved.get(key)
        if own is not None and own in self._rested:
            self._give(own, claimant)
            return own, []
        for attempt in range(MAX_TRIES):
            address = self._choice(key, attempt)
            if address in self._rested:
                continue
            holder = self._holders.get(address)
            if holder is None or claimant < holder:
                self.collisions += attempt > 0
                self._give(address, claimant)
                if holder is None:
                    return address, []
                del self._addresses[holder[1]]
                return address, [holder[1]]
        raise NoAddressLeft(
            f"{self._settings.network} has no address left for {key.name}; configure a bigger vips.network"
        )

    def release(self, key: ServiceKey, now: float) -> None:
        """The service is gone or has addresses of its own; its virtual one rests."""
        address = self._addresses.pop(key, None)
        if address is not None:
            del self._holders[address]
            self.rest(address, key, now + self._settings.quarantine_s)

    def rest(self, address: str, key: ServiceKey, until: float) -> None:
        """Give the address to nobody but this service before ``until``."""
        self._rested[address] = (key, until)
        self._reserved[key] = address
        self._resting.set(address, until)
        self._unsaved[address] = None

    def restore(self, address: str, key: ServiceKey, until: float, now: float) -> None:
        """Take an address from disk: it is kept for its service, one in use (``until`` 0) as if just given up."""
        if ipaddress.ip_address(address) in self._settings.network:
            self.rest(address, key, until or now + self._settings.quarantine_s)

    def take_unsaved(self) -> list[tuple[str, tuple[ServiceKey, float]]]:
        """Addresses whose fate changed since the last call: whose each is, and until when it rests (0: it is in use)."""
        unsaved, self._unsaved = self._unsaved, {}
        return [
            (address, (self._holders[address][1], 0.0) if address in self._holders else self._rested[address])
            for address in unsaved
            if address in self._holders or address in self._rested
        ]

    def mark_unsaved(self) -> None:
        """Let ``take_unsaved`` tell of every address once more."""
        self._unsaved = dict.fromkeys([*self._holders, *self._rested])

    def tick(self, now: float) -> None:
        """Let addresses go that have rested long enough."""
        for address in self._resting.take_due(now):
            self._forget_rest(address)

    def next_tick(self) -> float | None:
        """When ``tick`` has something to do."""
        return self._resting.next_due()

    def _give(self, address: str, claimant: Claimant) -> None:
        self._holders[address] = claimant
        self._addresses[claimant[1]] = address
        self._unsaved[address] = None
        if address in self._rested:
            self._resting.set(address, None)
            self._forget_rest(address)

    def _forget_rest(self, address: str) -> None:
        key, _ = self._rested.pop(address)
        if self._reserved.get(key) == address:
            del self._reserved[key]

    def _choice(self, key: ServiceKey, attempt: int) -> str:
        network = self._settings.network
        text = key.name if not attempt else f"{key.name}#{attempt}"
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16])
        # neither the network's own address nor its last one, which may be a broadcast address
        return str(network[1 + number % (network.num_addresses - 2)])
