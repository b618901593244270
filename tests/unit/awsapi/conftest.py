"""The management API on twins."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from stilldb.control.context import Quotas
from support.api import TwinApi, twin_api


@pytest.fixture
async def api() -> AsyncIterator[TwinApi]:
    async with twin_api(Quotas(clusters=3, instances=2, manual_snapshots=30)) as it:
        yield it
