"""Keeps on disk what sidecars have registered, so that a bridge that starts again knows of applications whose sidecars died meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from isthmus_mcp_bridge.dualmode.instance import Address
from isthmus_mcp_bridge.registration.leases import KeptLease
from isthmus_mcp_bridge.registration.model import InstanceKey, Offer, SdkService
from isthmus_mcp_bridge.registration.registrations import Registrations
from isthmus_mcp_bridge.warm.lines import decode, encode
from isthmus_mcp_bridge.warm.replacing import replace_file

FORMAT = b"isthmus-leases-1"
FLUSH_S = 1.0
REFRESH_S = 60.0
"""How far behind the time on disk may be at which the bridge was alive."""
MAX_BYTES = 256 * 1024 * 1024

log = logging.getLogger(__name__)


class LeaseStore:
    """One file, replaced as a whole; one that is older than ``max_age_s`` is not believed."""

    def __init__(self, path: Path, registrations: Registrations, max_age_s: float, epoch: Callable[[], float]) -> None:
        """``epoch`` is Unix time in seconds."""
        self.failures = 0
        self._path = path
        self._registrations = registrations
        self._max_age_s = max_age_s
        self._epoch = epoch
        self._written: tuple[int, float] = (-1, 0.0)

    def load(self) -> bool:
        """Restore the leases; False where there is nothing that can be used."""
        try:
            kept = self._read()
        except FileNotFoundError:
            return False
        except (OSError, ValueError, TypeError) as error:
            log.warning("%s cannot be used (%s): starting without the leases before", self._path, error)
            return False
        self._registrations.leases.restore(kept, self._registrations.now())
        return True

    def _read(self) -> list[KeptLease]:
        """What was saved. Raises OSError, ValueError and TypeError."""
        if self._path.stat().st_size > MAX_BYTES:
            raise ValueError(f"is bigger than {MAX_BYTES} bytes")
        head, _, line = self._path.read_bytes().partition(b"\n")
        if head != FORMAT:
            raise ValueError("is no file of this version")
        alive_at, leases = decode(line)
        age_s = self._epoch() - float(alive_at)
        if age_s > self._max_age_s:
            raise ValueError(f"is {age_s:.0f} s old, more than warm_start.max_age_s")
        return [_lease(*one) for one in leases]

    async def run(self) -> None:
        """Write what changes until cancelled; what is unwritten then is written before it goes."""
        try:
            while True:
                revision, now = self._registrations.revision, self._epoch()
                if revision != self._written[0] or now - self._written[1] >= REFRESH_S:
                    data = self._data(now)
                    await asyncio.to_thread(self._replace, data)
                    self._written = (revision, now)
                await asyncio.sleep(FLUSH_S)
        finally:
            if self._registrations.revision != self._written[0]:
                self._replace(self._data(self._epoch()))

    def _data(self, now: float) -> bytes:
        return FORMAT + b"\n" + encode([now, [_saved(one) for one in self._registrations.leases.kept()]])

    def _replace(self, data: bytes) -> None:
        try:
            replace_file(self._path, data)
        except OSError as error:
            self.failures += 1
            if self.failures == 1:
                log.error("%s cannot be written (%s): a restart may not know of these leases", self._path, error)


def _saved(lease: KeptLease) -> list[Any]:
    return [lease.node, lease.zone, lease.epoch, [_saved_offer(one) for one in lease.offers]]


def _saved_offer(offer: Offer) -> list[Any]:
    service = offer.key.service
    named = [service.protocol, service.interface, service.group, service.version, offer.key.id]
    native = offer.native or offer.mesh
    addresses = [[one.host, one.port] for one in (offer.mesh, native)]
    return [named, addresses, offer.application, [list(pair) for pair in offer.metadata]]


def _lease(node: str, zone: str, epoch: int, offers: Sequence[Sequence[Any]]) -> KeptLease:
    return KeptLease(str(node), str(zone), int(epoch), tuple(_offer(*one) for one in offers))


def _offer(
    named: Sequence[str], addresses: Sequence[tuple[str, int]], application: str, metadata: Sequence[tuple[str, str]]
) -> Offer:
    protocol, interface, group, version, identity = map(str, named)
    mesh, native = (Address(str(host), int(port)) for host, port in addresses)
    pairs = tuple((str(key), str(value)) for key, value in metadata)
    key = InstanceKey(SdkService(protocol, interface, group, version), identity)
    return Offer(key, mesh, native, str(application), pairs)
