"""For tests: certificates made by openssl, and a file of resources."""

from __future__ import annotations

import subprocess
from pathlib import Path

LAYER = """
nodes: {kinds: [sidecar], namespaces: [shop]}
resources:
- "@type": type.googleapis.com/envoy.service.runtime.v3.Runtime
  name: flags
  layer: {re2.max_program_size.error_level: 500, deep: {text: x}}
"""


def make_certificate(folder: Path, name: str, host: str = "localhost") -> tuple[Path, Path]:
    """Write ``NAME.crt`` and ``NAME.key`` of a new self-signed certificate."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host},IP:127.0.0.1", "-days", "2"]
    subprocess.run(  # noqa: S603 - of a test's own words
        [*command, *names, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True, timeout=60
    )
    return certificate, key
