"""``stilldb serve``: one process, one state directory, from the lock to the clean stop."""

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
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette

from stilldb import __version__
from stilldb.awsapi.keys import DamagedKeys, KeyFile
from stilldb.awsapi.verbjobs import VerbJobs
from stilldb.bootstrap.application import application
from stilldb.bootstrap.archives import open_archives
from stilldb.bootstrap.keyservices import AwsKeys, LocalKeys
from stilldb.bootstrap.options import CannotServe, ServeOptions, keys_file, resolved, serving_file
from stilldb.bootstrap.regions import layouts, not_served, open_regions
from stilldb.bootstrap.toolboxes import Toolboxes
from stilldb.control.context import Controls, Quotas
from stilldb.control.jobs import Worker
from stilldb.control.kinds import KINDS
from stilldb.control.notices import Notices
from stilldb.control.ports import Transaction
from stilldb.control.reconcile import Reconciler
from stilldb.domain.resources import Setting
from stilldb.domain.volumes import VolumeError
from stilldb.metadata.store import SqlStore
from stilldb.node import identity
from stilldb.node.tls import Authority
from stilldb.postgres import programs
from stilldb.util import files
from stilldb.volume.layout import Layout
from stilldb.volume.settings import VolumeSettings


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


async def serve(options: ServeOptions) -> None:
    """Serve until SIGINT or SIGTERM, then stop every cluster cleanly; raises CannotServe."""
    try:
        await _serve(options)
    except (VolumeError, PermissionError, DamagedKeys) as error:
        raise CannotServe(str(error)) from error


async def _serve(options: ServeOptions) -> None:
    state = resolved(options.state_dir)
    owner = identity.unprivileged()
    layout = Layout(state, owner)
    layout.prepare()
    identity.require_reachable(state, owner)
    asked = _asked_to_stop()
    with _locked(state), contextlib.closing(_bind(options)) as listener:
        host, port = listener.getsockname()[:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        keys = KeyFile(keys_file(state))
        async with _plane(options, layout, keys) as (controls, toolboxes, authority):
            serving = {
                "endpoint": url,
                "pid": os.getpid(),
                "region": options.region,
                "regions": options.regions,
            }
            files.write_durably(serving_file(state), json.dumps(serving).encode())
            print(f"StillDB {__version__} serves the management API on {url}", flush=True)
            print(
                f'In another shell: eval "$({_own_command()} env --state-dir {shlex.quote(str(state))})"',
                flush=True,
            )
            jobs = VerbJobs()
            try:
                await _run(application(options, controls, toolboxes, authority, keys, jobs), listener, asked)
            finally:
                await jobs.close()
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
async def _plane(
    options: ServeOptions, layout: Layout, keys: KeyFile
) -> AsyncIterator[tuple[Controls, Toolboxes, Authority]]:
    """The management plane of every account and region, running."""
    found = programs.locate(options.pg_bin, layout.programs, layout.owner)
    authority = await asyncio.to_thread(Authority, layout.state / "tls")
    store = await SqlStore.open(layout.state / "stilldb.db")
    try:
        await store.run(functools.partial(_require_same_region, region=options.region))
        scopes = await store.scopes()
        _require_served(not_served(scopes, options.regions))
        places = layouts(layout, options.regions)
        notices = Notices()
        archives = await open_archives(options.archive, options.regions, store, used=bool(scopes))
        kms = AwsKeys(options.kms_default_key) if options.kms == "aws" else LocalKeys(layout.state / "kms")
        settings = VolumeSettings.replaying(options.replay_limit_mb)
        regions = await open_regions(places, found, authority, notices, archives, kms, settings)
        quotas = Quotas(manual_snapshots=options.manual_snapshot_quota)
        controls = Controls(
            store,
            {name: region.volumes for name, region in regions.items()},
            lambda scope: regions[scope.region].control(scope.account, store, quotas),
            keys.accounts,
        )
        for scope in scopes:
            controls.of(scope)
        toolboxes = Toolboxes(regions, places, found, controls, options.prove_every)
        notices.bind(controls)
        worker, reconciler = Worker(controls, KINDS), Reconciler(controls)
        await reconciler.start()
        await worker.start()
        await toolboxes.start(scopes)
        try:
            yield controls, toolboxes, authority
        finally:
            await toolboxes.stop()
            await worker.stop()
            await reconciler.stop()
            await notices.drain()
    finally:
        store.close()


def _require_same_region(tx: Transaction, region: str) -> None:
    """ARNs carry the region, and the first one's volumes lie in the state directory itself: it belongs to one."""
    kept = tx.get(Setting, "region")
    if kept is None:
        tx.add(Setting(name="region", value=region))
    elif kept.value != region:
        raise CannotServe(
            f"this state directory belongs to region {kept.value}; serve it with --region {kept.value}"
        )


def _require_served(missing: list[str]) -> None:
    """What lies in a region must be looked after: its clusters may run, and its jobs wait."""
    if missing:
        further = " ".join(f"--also-region {region}" for region in missing)
        raise CannotServe(
            f"this state directory holds something of {', '.join(missing)}; serve it with {further}"
        )
