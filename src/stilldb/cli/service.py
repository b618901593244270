"""The running service as the commands see it: the management API, the admin verbs, the certificates of its endpoints."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final

import botocore.session
import typer
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError
from botocore.httpsession import URLLib3Session

from stilldb import bootstrap
from stilldb.bootstrap import NotServed
from stilldb.cli.output import NOT_SERVED, fail

StateDir = Annotated[
    pathlib.Path, typer.Option(help="The one directory that holds all state.", envvar="STILLDB_STATE_DIR")
]
DEFAULT_STATE: Final = bootstrap.default_state()

_POLL: Final = 0.1  # seconds, growing
_SLOWEST_POLL: Final = 1.0
_ANSWER_WITHIN: Final = 120.0


@dataclasses.dataclass(slots=True)
class _Scope:
    account: str | None = None
    region: str | None = None


_scope = _Scope()  # of this command line


def scoped(
    account: Annotated[
        str | None, typer.Option(help="An account that has an access key.", envvar="STILLDB_ACCOUNT")
    ] = None,
    region: Annotated[
        str | None, typer.Option(help="A region that is served.", envvar="STILLDB_REGION")
    ] = None,
) -> None:
    """The options of a group of commands: as which account, and in which region."""
    _scope.account, _scope.region = account, region


class Refused(Exception):
    """The service answered with an error: its code, and the message that says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Service:
    """A client of the service that runs on a state directory."""

    def __init__(self, state_dir: pathlib.Path) -> None:
        """Ends the command when nothing serves it."""
        try:
            connection = bootstrap.reach(state_dir, _scope.account, _scope.region)
        except NotServed as error:
            fail(error, NOT_SERVED)
        self.state_dir = state_dir
        self.url, self._region = connection.endpoint, connection.region
        self._credentials = Credentials(connection.access_key_id, connection.secret_access_key)
        self._docdb: Any = None
        self._http = URLLib3Session(timeout=_ANSWER_WITHIN)

    @property
    def docdb(self) -> Any:
        """botocore's client of the management API."""
        if self._docdb is None:
            self._docdb = botocore.session.get_session().create_client(
                "docdb",
                endpoint_url=self.url,
                region_name=self._region,
                aws_access_key_id=self._credentials.access_key,
                aws_secret_access_key=self._credentials.secret_key,
            )
        return self._docdb

    def all(self, operation: str, member: str, **given: Any) -> list[dict[str, Any]]:
        """Every row of a paginated Describe operation."""
        pages = self.docdb.get_paginator(operation).paginate(**given)
        return [row for page in pages for row in page[member]]

    def call(self, verb: str, **params: Any) -> dict[str, Any]:
        """Run an admin verb that answers at once; raises Refused. Parameters that are None are left out."""
        given = {name: value for name, value in params.items() if value is not None}
        return self._post(verb, given)

    def attempt(self, verb: str, **params: Any) -> None:
        """Run a verb that cleans up; it does not matter if it is too late for that."""
        with contextlib.suppress(Refused, BotoCoreError):
            self.call(verb, **params)

    def run(
        self, verb: str, progress: Callable[[int], None] = lambda percent: None, **params: Any
    ) -> dict[str, Any]:
        """Run an admin verb that takes long, polling its job; raises Refused. Interrupted, it cancels the job."""
        job = self.call(verb, **params)["job"]
        wait = _POLL
        try:
            while True:
                told = self.call("DescribeJob", job=job)
                if told["state"] == "failed":
                    raise Refused(told["error"]["code"], told["error"]["message"])
                if told["state"] == "done":
                    progress(100)
                    return dict(told["result"])
                progress(told["progress"])
                time.sleep(wait)
                wait = min(_SLOWEST_POLL, wait * 1.3)
        except KeyboardInterrupt:
            self.attempt("CancelJob", job=job)
            raise

    def _post(self, verb: str, given: dict[str, Any]) -> dict[str, Any]:
        request = AWSRequest(
            "POST",
            f"{self.url}/_stilldb/v1/{verb}",
            data=json.dumps(given).encode(),
            headers={"content-type": "application/json"},
        )
        SigV4Auth(self._credentials, "rds", self._region).add_auth(request)
        answer = self._http.send(request.prepare())
        if answer.status_code not in (200, 202):
            raise _refused(answer.status_code, answer.content)
        return dict(json.loads(answer.content))

    @contextlib.contextmanager
    def ca_bundle(self) -> Iterator[str]:
        """The path of the certificates that endpoints are verified with."""
        own = self.state_dir.expanduser() / "tls" / "ca-bundle.pem"
        if os.access(own, os.R_OK):
            yield str(own)
            return
        content = self._http.send(AWSRequest("GET", f"{self.url}/_stilldb/ca-bundle.pem").prepare()).content
        with tempfile.NamedTemporaryFile(prefix="stilldb-ca-", suffix=".pem") as file:
            file.write(content)
            file.flush()
            yield file.name

    @contextlib.contextmanager
    def look(
        self,
        snapshot: str,
        *,
        port: int | None = None,
        progress: Callable[[int], None] = lambda percent: None,
    ) -> Iterator[dict[str, Any]]:
        """A snapshot served read only while the ``with`` lasts: its address, port, username and password."""
        opened = self.run("OpenSnapshot", progress, snapshot=snapshot, port=port)
        ended = threading.Event()
        opened["lost"] = lost = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(opened, ended, lost), daemon=True)
        keeper.start()
        try:
            yield opened
        finally:
            ended.set()
            keeper.join()
            self.attempt("CloseLook", look_id=opened["look_id"])

    def _keep(self, opened: dict[str, Any], ended: threading.Event, lost: threading.Event) -> None:
        """Renew the lease; sets ``lost`` when the service says that there is none, or has said nothing for as long as it lasts."""
        renewed = time.monotonic()
        while not ended.wait(opened["lease_seconds"] / 4):
            try:
                self.call("RenewLook", look_id=opened["look_id"])
                renewed = time.monotonic()
            except Refused:
                lost.set()
                return
            except BotoCoreError:  # it may be there again before the lease ends
                if time.monotonic() - renewed > opened["lease_seconds"]:
                    lost.set()
                    return


def _refused(status: int, content: bytes) -> Refused:
    try:
        told = json.loads(content)
        return Refused(str(told["code"]), str(told["message"]))
    except (ValueError, KeyError, TypeError):
        return Refused("InternalFailure", f"the service answered with status {status}")


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Tell what the service refuses, and that it is away, as the command's error."""
    try:
        yield
    except Refused as error:
        fail(error)
    except ClientError as error:
        fail(error.response["Error"].get("Message", str(error)))
    except BotoCoreError as error:
        fail(f"the service does not answer: {error}", NOT_SERVED)
