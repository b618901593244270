"""A real S3 (and KMS) server on loopback, moto's, as a process of its own; and stores in fresh buckets of it."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import botocore.session

from stilldb.volume.objects.remote import RemoteStore, S3Settings, s3

ACCESS_KEY, SECRET_KEY, REGION = "AKIDEXAMPLE", "secret", "eu-central-1"
_START = 60.0  # seconds, on a busy machine


@contextlib.contextmanager
def aws_server() -> Iterator[str]:
    """The endpoint URL of a new server, empty; it ends with the block."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = pathlib.Path(sys.executable).parent / "moto_server"
    with tempfile.TemporaryFile() as log:
        command = [program, "-H", "127.0.0.1", "-p", str(port)]
        with subprocess.Popen(command, stdout=log, stderr=log, cwd="/") as server:
            try:
                _await_answer(f"http://127.0.0.1:{port}", server)
                yield f"http://127.0.0.1:{port}"
            finally:
                server.kill()


def _await_answer(endpoint: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START
    while True:
        try:
            urllib.request.urlopen(f"{endpoint}/moto-api/", timeout=5).close()
            return
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def client(service: str, endpoint: str) -> Any:
    """A botocore client of the server."""
    return botocore.session.get_session().create_client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
    )


def new_bucket(endpoint: str) -> str:
    """The name of a new bucket."""
    name = f"bucket-{uuid.uuid4()}"
    client("s3", endpoint).create_bucket(
        Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    return name


def s3_settings(endpoint: str, bucket: str, **changes: Any) -> S3Settings:
    """Settings of a store in a bucket of the server, with short timeouts."""
    settings: dict[str, Any] = {
        "bucket": bucket,
        "prefix": "some/prefix",
        "region": REGION,
        "endpoint": endpoint,
        "allow_http": True,
        "access_key_id": ACCESS_KEY,
        "secret_access_key": SECRET_KEY,
        "connect_timeout": 2.0,
        "timeout": 20.0,
        "retries": 1,
        "retry_timeout": 5.0,
    }
    return S3Settings(**{**settings, **changes})


def s3_store(endpoint: str, bucket: str | None = None) -> RemoteStore:
    """A store in a bucket of the server, a new one unless given."""
    return s3(s3_settings(endpoint, bucket or new_bucket(endpoint)))
