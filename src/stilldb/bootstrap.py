"""The composition root: the only module that knows every room. It opens a state directory and binds what runs on it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import ipaddress
import json
import os
import pathlib
import shlex
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from stilldb import __version__
from stilldb.awsapi import app, keys
from stilldb.awsapi.context import RequestContext
from stilldb.awsapi.operations import OPERATIONS, Operation
from stilldb.control.context import Control, Controls, Quotas
from stilldb.control.jobs import Worker
from stilldb.control.kinds import KINDS
from stilldb.control.reconcile import Reconciler
from stilldb.domain.names import DEFAULT_ACCOUNT, Deployment, Scope
from stilldb.domain.resources import Setting
from stilldb.domain.volumes import VolumeError
from stilldb.metadata.store import SqlStore, SqlTransaction
from stilldb.node import identity
from stilldb.node.gateways import LocalGateways
from stilldb.node.host import LocalHost
from stilldb.node.tls import Authority
from stilldb.postgres import programs
from stilldb.util import files
from stilldb.volume.keyring import LocalKeyring
from stilldb.volume.kmsnames import KmsNames
from stilldb.volume.layout import Layout
from stilldb.volume.local import LocalVolumes

# Not us-east-1: for docdb there, version 1 of the AWS CLI goes to AWS itself, whatever AWS_ENDPOINT_URL says.
DEFAULT_REGION = "us-west-2"


class CannotServe(Exception):
    """The service can't start; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What ``stilldb serve`` is told."""

    state_dir: pathlib.Path
    host: str = "127.0.0.1"
    port: int = 8010
    auth: str = "keys"  # or "any"
    pg_bin: pathlib.Path | None = None
    region: str = DEFAULT_REGION
    manual_snapshot_quota: int = Quotas().manual_snapshots


def _resolved(state: pathlib.Path) -> pathlib.Path:
    """The real path: servers are recognised by the directory they stand in, as the kernel names it."""
    return state.expanduser().resolve()


def keys_file(state: pathlib.Path) -> pathlib.Path:
    """The access keys of a state directory."""
    return state / "access-keys.json"


def serving_file(state: pathlib.Path) -> pathlib.Path:
    """Where the running service tells its endpoint."""
    return state / "serving.json"


@contextlib.contextmanager
def _locked(state: pathlib.Path) -> Any:
    """One service a state directory, for as long as it lives; the kernel lets go of the lock when it dies."""
    with (state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotServe(
                f"another stilldb serve runs on {state}. Use it (stilldb status --state-dir {state}), or stop it first."
            ) from None
        yield


def _own_command() -> str:
    """How a shell starts this program: by its name if that is on the path, else by where it lies."""
    own = pathlib.Path(sys.argv[0]).absolute()
    return own.name if shutil.which(own.name) == str(own) else shlex.quote(str(own))


def default_state() -> pathlib.Path:
    """The state directory unless another is chosen. Root's home is closed to the user that servers then run as."""
    return pathlib.Path("/var/lib/stilldb") if os.geteuid() == 0 else pathlib.Path("~/.stilldb").expanduser()


def _is_loopback(host: str) -> bool:
    """By the address itself: a name that merely begins like one may lead anywhere."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bind(options: ServeOptions) -> socket.socket:
    if options.auth == "any" and not _is_loopback(options.host):
        raise CannotServe(
            f"--auth any lets everybody in, so it is for loopback only; {options.host} is not loopback"
        )
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((options.host, options.port))
    except OSError as error:
        listener.close()
        raise CannotServe(
            f"can't listen on {options.host}:{options.port}: {error.strerror}. Choose another --port (make serve PORT=...)."
        ) from None
    return listener


def _is_served(state: pathlib.Path) -> bool:
    """Whether a service holds the lock; what it told of its endpoint may be left by one that was killed."""
    with (state / "lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def client_environment(state_dir: pathlib.Path) -> dict[str, str]:
    """The variables that point AWS clients at the service of a state directory; raises CannotServe when none runs."""
    state = _resolved(state_dir)
    try:
        if not _is_served(state):
            raise FileNotFoundError(serving_file(state))
        serving = json.loads(serving_file(state).read_text())
        key = keys.load(keys_file(state))[0]
    except FileNotFoundError:
        start = f"stilldb serve --state-dir {shlex.quote(str(state))}"
        raise CannotServe(f"nothing serves {state}. Start it: {start}") from None
    except (keys.DamagedKeys, PermissionError, json.JSONDecodeError) as error:
        raise CannotServe(str(error)) from error
    return {
        "AWS_ENDPOINT_URL": serving["endpoint"],
        "AWS_DEFAULT_REGION": serving["region"],
        "AWS_ACCESS_KEY_ID": key.access_key_id,
        "AWS_SECRET_ACCESS_KEY": key.secret_access_key,
    }


async def serve(options: ServeOptions) -> None:
    """Serve until SIGINT or SIGTERM, then stop every cluster cleanly; raises CannotServe."""
    try:
        await _serve(options)
    except (VolumeError, PermissionError, keys.DamagedKeys) as error:
        raise CannotServe(str(error)) from error


async def _serve(options: ServeOptions) -> None:
    state = _resolved(options.state_dir)
    owner = identity.unprivileged()
    layout = Layout(state, owner)
    layout.prepare()
    identity.require_reachable(state, owner)
    asked = _asked_to_stop()
    with _locked(state), contextlib.closing(_bind(options)) as listener:
        host, port = listener.getsockname()[:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        async with _plane(options, layout) as (control, authority):
            application = _application(options, control, authority, state)
            files.write_durably(
                serving_file(state),
                json.dumps({"endpoint": url, "pid": os.getpid(), "region": options.region}).encode(),
            )
            print(f"StillDB {__version__} serves the management API on {url}", flush=True)
            print(
                f'In another shell: eval "$({_own_command()} env --state-dir {shlex.quote(str(state))})"',
                flush=True,
            )
            try:
                await _run(application, listener, asked)
            finally:
                serving_file(state).unlink(missing_ok=True)
                print("Stopping every cluster …", flush=True)


def _asked_to_stop() -> asyncio.Event:
    """Set by SIGINT and SIGTERM from here on, so that a stop during the start is as clean as any."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked.set)
    return asked


async def _run(application: Starlette, listener: socket.socket, asked: asyncio.Event) -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            lifespan="off",
            loop="none",
            timeout_graceful_shutdown=5,
            server_header=False,
            h11_max_incomplete_event_size=65536,
        )
    )
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]  # we stop it ourselves
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(asked.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    server.should_exit = True
    await serving


@contextlib.asynccontextmanager
async def _plane(options: ServeOptions, layout: Layout) -> AsyncIterator[tuple[Control, Authority]]:
    """The management plane, running."""
    found = programs.locate(options.pg_bin, layout.programs, layout.owner)
    authority = await asyncio.to_thread(Authority, layout.state / "tls")
    store = await SqlStore.open(layout.state / "stilldb.db")
    try:
        await store.run(functools.partial(_require_same_region, region=options.region))
        volumes = LocalVolumes(layout, found)
        await volumes.prepare()
        gateways = LocalGateways(layout.state / "gateways", layout.state / "log")
        host = LocalHost(layout, authority)

        def made(scope: Scope) -> Control:
            return Control(
                deployment=Deployment(scope.account, scope.region),
                store=store.scoped(scope.account, scope.region),
                volumes=volumes,
                gateways=gateways,
                host=host,
                kms=KmsNames(LocalKeyring(layout.state / "kms", scope.account, scope.region)),
                quotas=Quotas(manual_snapshots=options.manual_snapshot_quota),
            )

        controls = Controls(store, {options.region: volumes}, made)
        control = controls.of(Scope(DEFAULT_ACCOUNT, options.region))
        worker, reconciler = Worker(controls, KINDS), Reconciler(controls)
        await reconciler.start()
        await worker.start()
        try:
            yield control, authority
        finally:
            await worker.stop()
            await reconciler.stop()
    finally:
        store.close()


def _require_same_region(tx: SqlTransaction, region: str) -> None:
    """ARNs carry the region: a state directory belongs to one."""
    kept = tx.get(Setting, "region")
    if kept is None:
        tx.add(Setting(name="region", value=region))
    elif kept.value != region:
        raise CannotServe(
            f"this state directory belongs to region {kept.value}; serve it with --region {kept.value}"
        )


def handler(control: Control, operation: Operation) -> app.Handler:
    """What the request chain calls for an operation."""

    async def handle(context: RequestContext, params: Mapping[str, Any]) -> Mapping[str, Any]:
        operation.check(params)
        return await operation.run(control, params)

    return handle


def _application(
    options: ServeOptions, control: Control, authority: Authority, state: pathlib.Path
) -> Starlette:
    secrets = keys.load_or_create(keys_file(state))
    authenticate = app.anyone if options.auth == "any" else app.signed(options.region, secrets.get)

    async def ca_bundle(_: Request) -> Response:
        return FileResponse(authority.bundle, media_type="application/x-pem-file")

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "serving", "version": __version__, "region": options.region})

    routes = [Route("/_stilldb/ca-bundle.pem", ca_bundle), Route("/_stilldb/health", health)]
    handlers = {name: handler(control, operation) for name, operation in OPERATIONS.items()}
    return app.build(handlers, authenticate, routes)
