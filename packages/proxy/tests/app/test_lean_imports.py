from __future__ import annotations

import subprocess
import sys

import pytest


def run(script: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.split()


def test_trio_and_the_proxy_load_without_what_they_do_not_need() -> None:
    script = (
        "import sys\n"
        "from isthmus_proxy import lean_imports\n"
        "lean_imports.prepare()\n"
        "import trio, isthmus_proxy.app\n"
        "import isthmus_proxy.config.bootstrap\n"
        "unwanted = '_ssl', '_hashlib', 'google.protobuf.text_format', 'email.utils'\n"
        "print(*[name in sys.modules for name in unwanted])\n"
    )
    assert run(script) == ["False"] * 4


def test_whoever_needs_openssl_gets_it() -> None:
    script = (
        "import sys\n"
        "from isthmus_proxy import lean_imports\n"
        "lean_imports.prepare()\n"
        "import hashlib, trio, ssl as early\n"
        "context = early.create_default_context()\n"
        "import ssl\n"
        "print(isinstance(context, ssl.SSLContext), early.SSLError is ssl.SSLError, '_ssl' in sys.modules)\n"
        "print(hashlib.sha256(b'').hexdigest()[:8], hashlib.new('sha1', b'').hexdigest()[:8])\n"
        "trio.SSLStream\n"
    )
    assert run(script) == ["True", "True", "True", "e3b0c442", "da39a3ee"]


@pytest.mark.parametrize("implementation", ["upb", "python"])
def test_protobuf_works_in_either_implementation(implementation: str) -> None:
    script = (
        "import os\n"
        f"os.environ['PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION'] = '{implementation}'\n"
        "from isthmus_proxy import lean_imports\n"
        "lean_imports.prepare()\n"
        "from google.protobuf import struct_pb2\n"
        "from google.protobuf.internal import api_implementation, python_message\n"
        "value = struct_pb2.Value.FromString(struct_pb2.Value(string_value='x').SerializeToString())\n"
        "print(api_implementation.Type(), value.string_value, python_message.GeneratedProtocolMessageType.__name__)\n"
    )
    assert run(script) == [implementation, "x", "GeneratedProtocolMessageType"]


def test_what_is_loaded_already_stays() -> None:
    script = (
        "import ssl, hashlib\n"
        "from isthmus_proxy import lean_imports\n"
        "before = ssl, hashlib.sha256\n"
        "lean_imports.prepare()\n"
        "import sys\n"
        "print(sys.modules['ssl'] is before[0], hashlib.sha256 is before[1])\n"
    )
    assert run(script) == ["True", "True"]
