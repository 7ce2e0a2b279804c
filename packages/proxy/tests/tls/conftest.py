"""Certificates for these tests, made once by the openssl program."""

from __future__ import annotations

import pytest

from isthmus_proxy.tls.testing import Files, make_files


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return make_files(tmp_path_factory.mktemp("certificates"))
