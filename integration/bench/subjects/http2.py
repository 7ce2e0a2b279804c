"""HTTP/2 proxies, each started from the same plan: cleartext, prior knowledge on both sides."""

from __future__ import annotations

from collections.abc import Callable

from bench.http_plan import HttpPlan
from bench.subjects.http import Running, direct, envoy, isthmus, isthmus_pure, start
from harness import peers


def _nghttpx(plan: HttpPlan, cpus: str) -> Running:
    options = [
        f"--frontend=127.0.0.1,{plan.port};no-tls",
        f"--backend=127.0.0.1,{plan.origin_port};;proto=h2",
        "--workers=1",
        "--single-thread",
        "--conf=/dev/null",
        "--no-via",
        f"--errorlog-file={plan.folder / 'nghttpx-errors.log'}",
        "--accesslog-file=",
    ]
    return start("nghttpx", [peers.command("nghttpx", "nghttp2-proxy"), *options], plan, cpus)


SUBJECTS: dict[str, Callable[[HttpPlan, str], Running]] = {
    "isthmus": isthmus,
    "isthmus-pure": isthmus_pure,
    "envoy": envoy,
    "nghttpx": _nghttpx,
    "direct": direct,
}
