from __future__ import annotations

import subprocess
import sys


def run(script: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.split()


def test_trio_and_the_proxy_load_without_openssl() -> None:
    script = (
        "import sys\n"
        "from isthmus_proxy import lean_imports\n"
        "lean_imports.prepare()\n"
        "import trio, isthmus_proxy.app\n"
        "print('_ssl' in sys.modules, '_hashlib' in sys.modules)\n"
    )
    assert run(script) == ["False", "False"]


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
        "lean_imports.release_free_memory()\n"
    )
    assert run(script) == ["True", "True", "True", "e3b0c442", "da39a3ee"]


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
