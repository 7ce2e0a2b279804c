"""What makes pushes cheap, each of which can be switched off, to measure what it brings. Everything is on but for that."""

from __future__ import annotations

import dataclasses

from isthmus_controlplane.errors import ConfigError


@dataclasses.dataclass(frozen=True, slots=True)
class Techniques:
    """What is on.

    Attributes:
        serialise_once: a resource is serialised once for all clients; else for each client that it is sent to.
        precompute_per_scope: resources are made once for all clients of equal scope; else for each client.
        affected_only: a change is told to those whom it concerns; else every client is told everything it subscribes to.
        incremental: a change of instances is followed through; else everything is translated and compared anew.
    """

    serialise_once: bool = True
    precompute_per_scope: bool = True
    affected_only: bool = True
    incremental: bool = True


ALL = Techniques()


def without(names: str) -> Techniques:
    """Read the names of what is off, such as ``affected-only,serialise-once``.

    Raises:
        ConfigError: a name is unknown.
    """
    off = [name.strip() for name in names.split(",") if name.strip()]
    known = {field.name.replace("_", "-"): field.name for field in dataclasses.fields(Techniques)}
    for name in off:
        if name not in known:
            raise ConfigError(f"--without {name}: is not one of {', '.join(known)}")
    return Techniques(**{known[name]: False for name in off})
