"""Which store a URL stands for."""

from __future__ import annotations

from isthmus_controlplane.errors import ConfigError
from isthmus_controlplane.stores.base import WritableStore
from isthmus_controlplane.stores.directory import DirectoryStore
from isthmus_controlplane.stores.etcd.store import EtcdStore
from isthmus_controlplane.stores.memory import MemoryStore


def open_store(url: str) -> WritableStore:
    """Make the store of a URL: ``dir:PATH``, ``memory:`` or ``etcd://HOST:PORT[,HOST:PORT...][/PREFIX]``.

    Raises:
        ConfigError: it is none of these, or cannot be used.
    """
    if url.startswith("dir:") and url != "dir:":
        return DirectoryStore(url)
    if url == "memory:":
        return MemoryStore(url)
    if url.startswith("etcd://"):
        return EtcdStore(url)
    raise ConfigError(f"--store {url}: is not dir:PATH, memory: or etcd://HOST:PORT[/PREFIX]")
