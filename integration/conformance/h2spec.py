"""The suite ``h2spec``: HTTP/2 and HPACK by summerwind's h2spec, every one of its cases one of ours."""

from __future__ import annotations

import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from conformance.http1.upstream import Upstream
from conformance.result import Outcome, failed, not_applicable, passed
from conformance.subject import http_proxy
from harness import peers
from harness.process import run as run_program

NAME = "h2spec"
PEERS = ("envoy",)
MODULE = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd]")  # h2spec quotes what it received as it is
TIMEOUT_S = 3  # of one case; Envoy closes a connection only after a delay


def run(subject: str, folder: Path) -> Iterator[Outcome]:
    """Run h2spec, strict cases included, against a cleartext listener of the subject for HTTP/2 alone; read its JUnit report."""
    report = folder / "junit.xml"
    with Upstream() as upstream, http_proxy(subject, upstream.port, folder, codec="HTTP2") as port:
        flags = ["--strict", "-h", "127.0.0.1", "-p", str(port), "-o", str(TIMEOUT_S), "-j", str(report)]
        done = run_program([h2spec(), *flags], within=900)
    if not report.is_file():
        raise RuntimeError(f"h2spec wrote no report:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    yield from read(report.read_text(errors="replace"))


def h2spec() -> Path:
    """The program, built on first use into the peers' cache."""
    return peers.install("h2spec-2.2.1", _build) / "h2spec"


def _build(target: Path) -> None:
    if shutil.which("go") is None:
        peers.missing("Go", "install Go 1.26 or later (https://go.dev/doc/install); it builds h2spec")
    done = run_program(["go", "install", MODULE], within=600, env={"GOBIN": str(target)})
    if done.returncode:
        raise RuntimeError(f"go install {MODULE} failed:\n{done.stderr}")


def read(report: str) -> Iterator[Outcome]:
    """The cases of a JUnit report, named by package and number; h2spec numbers them in their order."""
    for suite in ET.fromstring(_NOT_XML.sub("?", report)).iter("testsuite"):
        for number, case in enumerate(suite.findall("testcase"), start=1):
            name = f"{case.get('package')}/{number}"
            reason = _text(case, "failure") or _text(case, "error")
            if reason:
                yield failed(NAME, name, f"{case.get('classname')}: {reason}")
            elif (skipped := case.find("skipped")) is not None:
                yield not_applicable(NAME, name, f"h2spec skipped it: {skipped.text or case.get('classname')}")
            else:
                yield passed(NAME, name)


def _text(case: ET.Element, tag: str) -> str:
    found = case.find(tag)
    return "" if found is None else re.sub(r"\s+", " ", found.text or found.get("message") or tag).strip()
