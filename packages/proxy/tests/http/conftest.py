"""A proxy for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from isthmus_proxy.testing import Proxy, running_proxy


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with running_proxy() as proxy:
        yield proxy
