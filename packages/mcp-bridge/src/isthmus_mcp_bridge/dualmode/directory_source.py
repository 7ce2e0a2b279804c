"""Policies from a directory of YAML files, for a bridge without a control plane; looked at every second."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format

from isthmus_api.dualmode.v1alpha1.dual_mode_pb2 import DualMode
from isthmus_mcp_bridge.dualmode.policy_book import Item, PolicyBook

SUFFIXES = (".yaml", ".yml")
INTERVAL_S = 1.0
MAX_FILES = 10_000
MAX_FILE_BYTES = 4 * 1024 * 1024
API_VERSION = "isthmus.io/v1alpha1"
KIND = "DualMode"

log = logging.getLogger(__name__)


class PolicyFileError(ValueError):
    """A file cannot be read as policies; the text says where and why."""


class DirectoryPolicies:
    """Keeps a PolicyBook in step with the files of a directory. While any of them is bad, all stays as it was."""

    def __init__(
        self, directory: Path, book: PolicyBook, changed: Callable[[], None], epoch: Callable[[], float]
    ) -> None:
        """``changed`` is told after the book was replaced; ``epoch`` is Unix time in seconds."""
        self._directory = directory
        self._book = book
        self._changed = changed
        self._epoch = epoch
        self._seen: list[tuple[str, bytes]] | None = None

    async def run(self) -> None:
        """Follow the directory until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(INTERVAL_S)

    async def look(self) -> None:
        """Read the directory once."""
        try:
            texts = await asyncio.to_thread(read_texts, self._directory)
            items = [item for name, text in texts for item in read_items(name, text)] if texts != self._seen else None
        except (OSError, PolicyFileError) as error:
            if str(error) != self._book.error:
                log.error("%s: %s; the policies before stay in use", self._book.source, error)
            self._book.lost(str(error), self._epoch())
            self._seen = None
            return
        if items is None:
            self._book.heard(self._epoch())
            return
        self._seen = texts
        for problem in self._book.replace(items, self._epoch()):
            log.error("%s: %s", self._book.source, problem)
        self._changed()


def read_texts(directory: Path) -> list[tuple[str, bytes]]:
    """The files of a directory by name, hidden ones excepted. Raises OSError and PolicyFileError."""
    paths = sorted(path for path in directory.iterdir() if path.suffix in SUFFIXES and path.name[0] != ".")
    if len(paths) > MAX_FILES:
        raise PolicyFileError(f"holds more than {MAX_FILES} files; put several policies into one")
    return [(path.name, _content(path)) for path in paths]


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise PolicyFileError(f"{path.name}: is bigger than {MAX_FILE_BYTES} bytes; split it")
    return data


def read_items(name: str, text: bytes) -> list[Item]:
    """The policies of one file. Raises PolicyFileError."""
    try:
        documents = list(yaml.safe_load_all(text))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PolicyFileError(f"{name}: is not YAML: {' '.join(str(error).split())}") from error
    return [_item(f"{name}#{number}", each) for number, each in enumerate(documents, start=1) if each is not None]


def _item(where: str, document: Any) -> Item:
    if not isinstance(document, dict) or document.get("kind") != KIND or document.get("apiVersion") != API_VERSION:
        raise PolicyFileError(f"{where}: is not an object of kind {KIND} and apiVersion {API_VERSION}")
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise PolicyFileError(f"{where}: metadata.name: must be a name")
    try:
        spec = json_format.ParseDict(document.get("spec") or {}, DualMode())
    except json_format.ParseError as error:
        raise PolicyFileError(f"{where}: spec: {error}") from error
    version = hashlib.sha256(spec.SerializeToString(deterministic=True)).hexdigest()[:16]
    return Item(f"{metadata.get('namespace') or 'default'}/{metadata['name']}", version, spec)
