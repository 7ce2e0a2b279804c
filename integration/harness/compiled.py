"""The proxy with its data path compiled: the wheel that ``pip wheel packages/proxy`` builds where there is a C compiler, unpacked."""

import hashlib
import sys
from pathlib import Path

from harness import peers
from harness.process import run

SOURCES = Path(__file__).parents[2] / "packages" / "proxy"
BUILD_S = 900


def compiled_proxy() -> Path:
    """The folder for PYTHONPATH, built on first use of these sources into the peers' cache.

    Raises RuntimeError with the compiler's output when it cannot be built.
    """
    return peers.install(f"isthmus-compiled-{_digest()}", _install)


def _digest() -> str:
    digest = hashlib.sha256(sys.version.encode())
    files = [SOURCES / "pyproject.toml", SOURCES / "hatch_build.py", *sorted((SOURCES / "src").rglob("*.py"))]
    for path in files:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(SOURCES)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _install(target: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = run([*pip, "--target", target, SOURCES], env={"ISTHMUS_COMPILE": "require"}, within=BUILD_S)
    if done.returncode or not any(target.glob("*.so")):
        raise RuntimeError(f"the proxy cannot be compiled (is there a C compiler?):\n{done.stdout}{done.stderr}")
