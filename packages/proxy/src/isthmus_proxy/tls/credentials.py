"""The certificates and roots of one TLS configuration as they are now: what it holds itself, and what it names as secrets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from isthmus_proxy.errors import ConfigError
from isthmus_proxy.tls.file_watch import FileWatch, Watched
from isthmus_proxy.tls.material import CertificateMaterial, ValidationMaterial, load_certificate, load_validation
from isthmus_proxy.tls.model import CertificateConfig, CommonTls, DataSource, Secret, SecretReference, ValidationConfig
from isthmus_proxy.tls.secrets import SecretStore

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """All of it, read."""

    certificates: tuple[CertificateMaterial, ...]
    validation: ValidationMaterial | None


class Credentials:
    """See the module. ``changed`` is called after a change of files or secrets; whoever is called loads again."""

    __slots__ = ("_changed", "_common", "_secrets", "_watch", "_watched")

    def __init__(self, common: CommonTls, secrets: SecretStore, watch: FileWatch, changed: Callable[[], None]) -> None:
        """Raises ConfigError for a file of secrets that cannot be read."""
        self._common = common
        self._secrets = secrets
        self._watch = watch
        self._changed = changed
        self._watched: Watched | None = None
        for reference in self._references():
            secrets.watch(reference, changed)

    def _references(self) -> Iterator[SecretReference]:
        yield from self._common.certificate_references
        if self._common.validation_reference is not None:
            yield self._common.validation_reference

    def load(self) -> Loaded | None:
        """Read everything; None while a secret is not there. Raises ConfigError."""
        common = self._common
        found = [self._secrets.get(reference) for reference in self._references()]
        if None in found:
            return None
        certificates = [*common.certificates, *(each for each in found if isinstance(each, CertificateConfig))]
        validation = _combined(common.validation, found)
        self._follow([*certificates, *([validation] if validation is not None else [])])
        return Loaded(
            tuple(load_certificate(each) for each in certificates),
            load_validation(validation) if validation is not None else None,
        )

    def _follow(self, configs: list[CertificateConfig | ValidationConfig]) -> None:
        """Watch the files of what has a watched directory, before they are read: no change is missed."""
        if self._watched is not None:
            self._watch.forget(self._watched)
            self._watched = None
        paths = [path for each in configs if each.watched_directory for path in (each.watched_directory, *_files(each))]
        if paths:
            self._watched = self._watch.watch(paths, self._changed)

    def close(self) -> None:
        """Follow changes no more."""
        if self._watched is not None:
            self._watch.forget(self._watched)
            self._watched = None
        for reference in self._references():
            self._secrets.forget(reference, self._changed)


def _files(config: Secret) -> Iterator[str]:
    sources: list[DataSource | None] = []
    if isinstance(config, CertificateConfig):
        sources += [config.chain, config.key, config.password]
    else:
        sources.append(config.trusted_ca)
    return (each.filename for each in sources if each is not None and each.filename)


def _combined(own: ValidationConfig | None, found: list[Secret | None]) -> ValidationConfig | None:
    """combined_validation_context: what the secret says, and what only the configuration itself says (protobuf's merge)."""
    named = next((each for each in found if isinstance(each, ValidationConfig)), None)
    if own is None or named is None:
        return named or own
    return replace(
        named,
        trusted_ca=named.trusted_ca or own.trusted_ca,
        system_roots=named.system_roots or own.system_roots,
        sans=(*own.sans, *named.sans),
        hashes=own.hashes | named.hashes,
        spkis=own.spkis | named.spkis,
        watched_directory=named.watched_directory or own.watched_directory,
    )


def keep(error: ConfigError, owner: str) -> None:
    """Say that new credentials cannot be used, and that the old ones are."""
    _log.warning("%s: certificates stay as they were: %s", owner, error)
