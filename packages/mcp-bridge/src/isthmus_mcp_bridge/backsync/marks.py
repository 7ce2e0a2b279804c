"""The marks by which a bridge cluster knows its entries, as parameters of the entry's URL. Pure.

An entry without marks, or with another cluster as its last writer, is foreign and never touched.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from isthmus_mcp_bridge.dualmode.instance import Address
from isthmus_mcp_bridge.registries.dubbo.providers import MARKS, MAX_PATH

PREFIX = MARKS
_MAX_DIGITS = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Marks:
    """``path`` are the bridge clusters that the entry went through, the one that wrote it last.

    ``epoch`` is the fencing token of whoever wrote it; ``native`` and ``mesh`` are the instance's addresses, of which the entry shows one;
    ``up`` says which of them are up.
    """

    path: tuple[str, ...]
    instance: str
    epoch: int
    native: Address | None = None
    mesh: Address | None = None
    up: tuple[bool, bool] = (True, True)
    mirrored: bool = False
    """Written for an instance that some registry claims, not for a lease."""

    @property
    def writer(self) -> str:
        """The cluster that wrote the entry."""
        return self.path[-1]

    @property
    def origin(self) -> str:
        """The cluster through which it came in first."""
        return self.path[0]

    def parameters(self) -> dict[str, str]:
        """As they stand in the URL."""
        found = {
            f"{PREFIX}origin": self.origin,
            f"{PREFIX}path": ",".join(self.path),
            f"{PREFIX}instance": self.instance,
            f"{PREFIX}epoch": str(self.epoch),
            f"{PREFIX}kind": "mirror" if self.mirrored else "lease",
            f"{PREFIX}up": "".join(name for name, up in zip("nm", self.up, strict=True) if up) or "-",
        }
        for name, address in (("native", self.native), ("mesh", self.mesh)):
            if address is not None:
                found[f"{PREFIX}{name}"] = str(address)
        return found


def read_marks(parameters: Mapping[str, str]) -> Marks | None:
    """The marks in a URL's parameters; None where there are none that make sense."""
    path = tuple(parameters.get(f"{PREFIX}path", "").split(","))
    instance = parameters.get(f"{PREFIX}instance", "")
    digits = parameters.get(f"{PREFIX}epoch", "")
    if not all(path) or len(path) > MAX_PATH or not instance:
        return None
    if not digits.isascii() or not digits.isdigit() or len(digits) > _MAX_DIGITS:
        return None
    native, mesh = (_address(parameters.get(f"{PREFIX}{name}", "")) for name in ("native", "mesh"))
    up = parameters.get(f"{PREFIX}up", "-")
    mirrored = parameters.get(f"{PREFIX}kind") == "mirror"
    return Marks(path, instance, int(digits), native, mesh, ("n" in up, "m" in up), mirrored)


def _address(text: str) -> Address | None:
    host, _, digits = text.rpartition(":")
    if not host or not digits.isascii() or not digits.isdigit() or not 0 < int(digits[:6]) <= 65535:
        return None
    return Address(host.removeprefix("[").removesuffix("]"), int(digits))
