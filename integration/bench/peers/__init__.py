"""Small Go programs of the benchmarks, built on first use into the peers' cache."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from harness import peers
from harness.process import run

SOURCES = Path(__file__).parent
BUILD_S = 900  # the first build of a large peer also downloads its modules


def go_program(name: str) -> Path:
    """The program of the folder ``name``, built when its sources are not those of the one in the cache.

    Raises RuntimeError with the compiler's output when it cannot be built.
    """
    source = SOURCES / name
    return peers.install(f"{name}-{source_digest(source)}", lambda target: _build(source, target / name)) / name


def go_dependency(name: str, package: str) -> Path:
    """The program of a package that the Go module in the folder ``name`` requires, built like ``go_program``."""
    source = SOURCES / name
    cached = f"{name}-{source_digest(source)}"
    return peers.install(cached, lambda target: _build(source, target / name, package)) / name


def source_digest(folder: Path) -> str:
    """A short hash of every source file of a Go module, go.mod and go.sum included."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in {".go", ".mod", ".sum"}):
        content = path.read_bytes()
        digest.update(f"{path.name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _build(source: Path, target: Path, package: str = ".") -> None:
    if shutil.which("go") is None:
        peers.missing("Go", "install Go 1.26 or later (https://go.dev/doc/install)")
    done = run(["go", "build", "-C", source, "-trimpath", "-o", target, package], within=BUILD_S)
    if done.returncode:
        raise RuntimeError(f"go build of {source} failed:\n{done.stderr}")
