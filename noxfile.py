"""Sessions of the Isthmus monorepo. Plain ``nox`` runs lint, typing, tests, example filters and integration."""

from __future__ import annotations

import os
import pathlib

import nox

nox.options.sessions = ["lint", "typing", "tests", "example_filters", "integration"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True

ROOT = pathlib.Path(__file__).parent
API = "packages/api"
# package -> (distributions of this repository that it needs, in install order)
PACKAGES = {
    "api": [API],
    "proxy": [API, "packages/proxy"],  # the API for its extra ``registry`` alone
    "controlplane": [API, "packages/controlplane"],
    "mcp-bridge": [API, "packages/mcp-bridge"],
}
EXAMPLE_FILTERS = [
    f"packages/proxy/examples/filters/{name}" for name in ("template", "header-signing", "ab-cookie", "request-audit")
]
EVERYTHING = [API, "packages/proxy", "packages/controlplane", "packages/mcp-bridge"]
# End-to-end tests that need no other package of this repository.
PROXY_ALONE = [
    f"integration/test_{name}.py"
    for name in ("static_example", "tcp_proxy", "listeners", "load_balancing", "stalled_log", "resilience")
]
INTEGRATION = ["-r", "integration/requirements.txt", "-r", "integration/bench/requirements.txt"]
RUFF = "ruff>=0.17,<0.18"
MYPY = ["mypy>=2.4,<2.5", "types-protobuf", "types-PyYAML", "grpc-stubs"]
# Generated code runs with protobuf from the minor release of its generator up to the next major one, so this pin sets the
# lower bounds of isthmus-api: protobuf 6.31.1 and grpcio 1.76.
PROTOC = ["grpcio-tools==1.76.0", "googleapis-common-protos==1.76.0", "mypy-protobuf==5.1.0"]


def _editable(paths: list[str], extra: str = "") -> list[str]:
    """pip arguments that install packages of this repository in place."""
    return [part for path in paths for part in ("-e", f"./{path}{extra}")]


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting of sources and tests."""
    session.install(RUFF)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typing(session: nox.Session) -> None:
    """Type-check sources and tests, strictly."""
    session.install(*_editable(EVERYTHING, "[test]"), *MYPY, *INTEGRATION)
    for package in PACKAGES:
        session.run("mypy", f"packages/{package}/src", f"packages/{package}/tests")
    session.run("mypy", "integration")


@nox.session
@nox.parametrize("package", list(PACKAGES))
def tests(session: nox.Session, package: str) -> None:
    """Test one package in an environment that holds only that package and what it declares."""
    session.install(*_editable(PACKAGES[package], "[test]"))
    session.run("pytest", "-c", "pyproject.toml", f"packages/{package}/tests", *session.posargs)


@nox.session
def example_filters(session: nox.Session) -> None:
    """Install the example filters as packages beside the proxy, check their types, and test each."""
    session.install(*_editable(["packages/proxy"]), *_editable(EXAMPLE_FILTERS, "[test]"), *MYPY)
    for path in EXAMPLE_FILTERS:
        session.run("mypy", f"{path}/src", f"{path}/tests", env={"MYPYPATH": f"{path}/src"})
        session.run("pytest", "-c", "pyproject.toml", f"{path}/tests", *session.posargs)


@nox.session
def compiled(session: nox.Session) -> None:
    """Build the proxy's wheel with its data path compiled, and hold it to the same tests. Needs a C compiler.

    Options are those of pytest for the unit tests.
    """
    session.install(f"./{API}", "./packages/proxy[test]", *INTEGRATION, env={"ISTHMUS_COMPILE": "require"})
    session.run(
        "python", "-c", "from isthmus_proxy.compiled import build_kind as kind; assert kind() == 'compiled', kind()"
    )
    session.run("pytest", "-c", "pyproject.toml", "packages/proxy/tests", *session.posargs)
    session.run("pytest", "-c", "pyproject.toml", *PROXY_ALONE)


@nox.session
def integration(session: nox.Session) -> None:
    """Run the parts together, and against real peers."""
    session.install(*_editable(EVERYTHING), *INTEGRATION)
    session.run("pytest", "-c", "pyproject.toml", "integration", *session.posargs)


@nox.session
def peers(session: nox.Session) -> None:
    """Run the bridge against peers that are built from source first: Consul and istiod (Go, some ten minutes), Eureka (Maven)."""
    session.install(*_editable(EVERYTHING), *INTEGRATION)
    built = [f"integration/test_bridge_{peer}.py" for peer in ("consul", "eureka", "istiod")]
    session.run("pytest", "-c", "pyproject.toml", *built, *session.posargs, env={"ISTHMUS_BUILD_PEERS": "1"})


@nox.session
def dualmode_matrix(session: nox.Session) -> None:
    """Callers and callees with an SDK and with a sidecar, each pair over Bolt, Dubbo, HTTP and gRPC; needs ZooKeeper and Maven."""
    session.install(*_editable(EVERYTHING), *INTEGRATION)
    session.run("pytest", "-c", "pyproject.toml", "integration/matrix/matrix_dual_mode.py", *session.posargs)


@nox.session
def dualmode_move(session: nox.Session) -> None:
    """Move a service to the mesh and back under load, with mishaps: ``-- [--instances N] [--consumers N] [--seconds S] [--seed N]
    [--json FILE] [--plot FILE]``; needs ZooKeeper."""
    session.install(*_editable(EVERYTHING), *INTEGRATION)
    session.run("python", "-m", "move", *session.posargs, env={"PYTHONPATH": str(ROOT / "integration")})


@nox.session
def demo(session: nox.Session) -> None:
    """Run a small shop through the whole mesh; ``-- --once`` plays it through, checks it and exits."""
    session.install(*_editable(EVERYTHING), "-r", "integration/requirements.txt")
    environment = {"PYTHONPATH": str(ROOT / "integration")}
    # After Ctrl-C it stops a dozen programs in order and shows its summary.
    patience = {"interrupt_timeout": 30.0, "terminate_timeout": 10.0}
    session.run("python", "-m", "demo", *session.posargs, env=environment, **patience)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure Isthmus and its peers side by side: ``-- SUITE [--seconds N] [--subjects a,b] [--json FILE] [--plot]``."""
    session.install(*_editable(EVERYTHING), *INTEGRATION)
    session.run("python", "-m", "bench", *session.posargs, env={"PYTHONPATH": str(ROOT / "integration")})


@nox.session
def soak(session: nox.Session) -> None:
    """Mixed load with errors, judged by memory, descriptors and counters: ``-- [--minutes M] [--rate R | --streams N] [--json FILE]``."""
    session.install(*_editable(EVERYTHING), *INTEGRATION)
    session.run("python", "-m", "soak", *session.posargs, env={"PYTHONPATH": str(ROOT / "integration")})


@nox.session
def fuzz(session: nox.Session) -> None:
    """Random input for parsers, in all roles: ``-- http2 [--minutes M] [--seed N]``."""
    session.install(*_editable(["packages/proxy"], "[test]"))
    session.run("python", "-m", "fuzz", *session.posargs, env={"PYTHONPATH": str(ROOT / "integration")})


@nox.session
def conformance(session: nox.Session) -> None:
    """Ask what the protocols demand: ``-- [--only SUITE] [--json FILE] [--all] [--peer envoy|haproxy|nginx]``."""
    session.install(*_editable(EVERYTHING), "-r", "integration/requirements.txt")
    session.run("python", "-m", "conformance", *session.posargs, env={"PYTHONPATH": str(ROOT / "integration")})


@nox.session
def compose(session: nox.Session) -> None:
    """Build and start the full stack in containers, kill every part under load, check, tear down."""
    session.install("-r", "integration/requirements.txt")
    session.run("python", "-m", "compose", *session.posargs, env={"PYTHONPATH": str(ROOT / "integration")})


@nox.session
def protos(session: nox.Session) -> None:
    """Generate the Python code of isthmus-api from its .proto files; ``-- --check`` fails when it is stale."""
    session.install(*PROTOC)
    session.run("python", "packages/api/generate.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error."""
    session.install("-r", "docs/requirements.txt")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")
    session.log(f"open {os.fspath(ROOT / 'docs/_build/html/index.html')}")
