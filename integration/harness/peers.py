"""Real programs by other people: where they are kept, and what happens when one is missing."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn


class MissingPeerError(RuntimeError):
    """A peer program is not here; the message says how to install it."""


def cache() -> Path:
    """The directory of installed peers, outside any checkout: ``ISTHMUS_PEERS``, else ``$XDG_CACHE_HOME/isthmus/peers``."""
    configured = os.environ.get("ISTHMUS_PEERS")
    if configured:
        return Path(configured)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "isthmus" / "peers"


def missing(peer: str, remedy: str) -> NoReturn:
    """Skip the running test with the reason; outside tests, or with ``ISTHMUS_REQUIRE_PEERS=1``, fail."""
    message = f"{peer} is missing: {remedy}"
    if os.environ.get("ISTHMUS_REQUIRE_PEERS") != "1" and "PYTEST_CURRENT_TEST" in os.environ:
        import pytest

        pytest.skip(message)
    raise MissingPeerError(message)


def command(name: str, package: str) -> str:
    """The path of a program from PATH (or an sbin directory); ``package`` is the Debian package that brings it."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return shutil.which(name, path=path) or missing(name, f"apt-get install {package}")


def install(name: str, build: Callable[[Path], None]) -> Path:
    """The directory ``name`` of the cache; when absent, ``build(directory)`` fills a new one that is then moved into place.

    A lock file keeps parallel runs from installing twice; the move makes a half-done installation invisible.
    """
    target = cache() / name
    if target.is_dir():
        return target
    cache().mkdir(parents=True, exist_ok=True)
    with _locked(cache() / f".{name}.lock"):
        if target.is_dir():
            return target
        scratch = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache()))
        try:
            build(scratch)
            scratch.rename(target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return target


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
