"""One S3 and KMS server for the tests of this directory and those below."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.s3 import aws_server


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    with aws_server() as started:
        yield started
