"""Secrets by name, wherever they come from (SDS): the bootstrap file, files of their own, or the control plane."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from isthmus_proxy.errors import ConfigError
from isthmus_proxy.tls.file_watch import FileWatch, Watched
from isthmus_proxy.tls.model import Secret, SecretReference

_log = logging.getLogger(__name__)

Changed = Callable[[], None]
ReadFile = Callable[[str], Mapping[str, Secret]]
"""The secrets in a file by name. Raises ConfigError."""


class RemoteSecrets(Protocol):
    """Where secrets come from over xDS (``xds.secret_discovery``)."""

    def get(self, name: str) -> Secret | None:
        """What is known of a secret now."""

    def watch(self, name: str, changed: Changed) -> None:
        """Subscribe to it, and call ``changed`` whenever it is another one."""

    def forget(self, name: str, changed: Changed) -> None:
        """Call ``changed`` no more."""


class _File:
    """One file of secrets, read again when it changes; what cannot be read leaves what was."""

    __slots__ = ("observers", "secrets", "watched")

    def __init__(self, secrets: Mapping[str, Secret]) -> None:
        self.secrets = secrets
        self.observers: list[Changed] = []
        self.watched: Watched | None = None


class SecretStore:
    """See the module. ``remote`` makes the source of those that come over xDS; None without a control plane."""

    __slots__ = ("_files", "_make_remote", "_read_file", "_remote", "_static", "_watch")

    def __init__(
        self,
        static: Mapping[str, Secret],
        read_file: ReadFile,
        watch: FileWatch,
        remote: Callable[[], RemoteSecrets] | None = None,
    ) -> None:
        self._static = static
        self._read_file = read_file
        self._watch = watch
        self._files: dict[str, _File] = {}
        self._make_remote = remote
        self._remote: RemoteSecrets | None = None

    def get(self, reference: SecretReference) -> Secret | None:
        """The secret as it is now; None while there is none."""
        if reference.path:
            file = self._files.get(reference.path)
            return file.secrets.get(reference.name) if file is not None else None
        if reference.ads:
            return self._remote.get(reference.name) if self._remote is not None else None
        return self._static.get(reference.name)

    def watch(self, reference: SecretReference, changed: Changed) -> None:
        """Call ``changed`` when the secret changes.

        Raises ConfigError for a file that cannot be read now, and for a secret over xDS where there is no control plane.
        """
        if reference.path:
            file = self._files.get(reference.path) or self._open(reference)
            file.observers.append(changed)
        elif reference.ads:
            if self._make_remote is None:
                raise ConfigError("sds_config.ads", reference.name, "dynamic_resources.ads_config is not set")
            if self._remote is None:
                self._remote = self._make_remote()
            self._remote.watch(reference.name, changed)

    def forget(self, reference: SecretReference, changed: Changed) -> None:
        """Call ``changed`` no more."""
        if reference.ads and self._remote is not None:
            self._remote.forget(reference.name, changed)
        file = self._files.get(reference.path)
        if file is None or changed not in file.observers:
            return
        file.observers.remove(changed)
        if not file.observers and file.watched is not None:
            self._watch.forget(file.watched)
            del self._files[reference.path]

    def _open(self, reference: SecretReference) -> _File:
        path = reference.path
        file = _File(self._read_file(path))

        def reread() -> None:
            try:
                file.secrets = self._read_file(path)
            except ConfigError as error:
                _log.warning("secrets stay as they were: %s", error)
                return
            for changed in list(file.observers):
                changed()

        places = (path, reference.watched_directory) if reference.watched_directory else (path,)
        file.watched = self._watch.watch(places, reread)
        self._files[path] = file
        return file
