"""``etcd://HOST:PORT[,HOST:PORT...][/PREFIX]``: where the configuration is."""

from __future__ import annotations

import dataclasses
import re

from isthmus_controlplane.errors import ConfigError

DEFAULT_PREFIX = "/isthmus/config/"
_TARGET = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/,\[\]]+):([0-9]{1,5})")


@dataclasses.dataclass(frozen=True, slots=True)
class EtcdAddress:
    """``targets`` are tried in turn; ``prefix`` begins and ends with a slash."""

    targets: tuple[str, ...]
    prefix: str


def parse_address(url: str) -> EtcdAddress:
    """Read the URL of a store.

    Raises:
        ConfigError: it is not such a URL.
    """
    authority, slash, path = url.removeprefix("etcd://").partition("/")
    targets = tuple(authority.split(","))
    for target in targets:
        match = _TARGET.fullmatch(target)
        if not url.startswith("etcd://") or match is None or not 0 < int(match[2]) <= 65535:
            raise ConfigError(f"{url!r} is not an etcd address: write etcd://HOST:PORT[,HOST:PORT...][/PREFIX]")
    trimmed = path.strip("/")
    return EtcdAddress(targets, f"/{trimmed}/" if slash and trimmed else DEFAULT_PREFIX)
