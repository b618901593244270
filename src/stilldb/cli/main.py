"""The ``stilldb`` command: serve, status, env."""

from __future__ import annotations

import asyncio
import datetime
import pathlib
import shlex
from enum import StrEnum
from typing import Annotated

import typer
import uvloop

from stilldb import __version__, bootstrap
from stilldb.bootstrap import CannotServe, NotServed, ServeOptions
from stilldb.cli import backups, keyring, keys, snapshots
from stilldb.cli.service import DEFAULT_STATE, StateDir
from stilldb.cli.status import status
from stilldb.util import log

cli = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

cli.add_typer(keys.cli, name="keys")
cli.add_typer(snapshots.app, name="snapshots")
cli.add_typer(backups.app, name="backups")
cli.add_typer(keyring.app, name="keyring")
cli.command()(status)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stilldb {__version__}")
        raise typer.Exit


@cli.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """An open, self-hosted Amazon DocumentDB: serve it, and point clients at it."""


class Auth(StrEnum):
    """Who may use the management API."""

    KEYS = "keys"
    ANY = "any"


class Kms(StrEnum):
    """Who holds the KMS keys."""

    LOCAL = "local"
    AWS = "aws"


@cli.command()
def serve(
    state_dir: StateDir = DEFAULT_STATE,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0 takes any free one.", min=0, max=65535)
    ] = 8010,
    auth: Annotated[
        Auth, typer.Option(help="keys: verify signatures. any: let everybody in, loopback only.")
    ] = Auth.KEYS,
    pg_bin: Annotated[
        pathlib.Path | None, typer.Option(help="Directory of PostgreSQL's programs, 17 or newer.")
    ] = None,
    region: Annotated[
        str, typer.Option(help="The AWS region this deployment stands for.")
    ] = bootstrap.DEFAULT_REGION,
    also_region: Annotated[
        list[str] | None, typer.Option(help="A further region, with volumes of its own; repeatable.")
    ] = None,
    archive: Annotated[
        str | None,
        typer.Option(
            help="The object store of the archives: s3://BUCKET/PREFIX?region=R or file:///DIRECTORY.",
            envvar="STILLDB_ARCHIVE",
        ),
    ] = None,
    kms: Annotated[
        Kms,
        typer.Option(
            help="local: a key ring in the state directory. aws: AWS KMS, by this process' credentials."
        ),
    ] = Kms.LOCAL,
    kms_default_key: Annotated[
        str | None, typer.Option(help="Of AWS KMS: the key that is taken where no other is named.")
    ] = None,
    manual_snapshot_quota: Annotated[
        int, typer.Option(help="How many manual snapshots there can be.", min=1)
    ] = 100,
    replay_limit_mb: Annotated[
        int,
        typer.Option(
            help="MB of write-ahead log that any restore may have to replay: how often base backups come.",
            min=32,
        ),
    ] = 512,
    prove_every: Annotated[
        float,
        typer.Option(
            help="Hours that a trial restore of a snapshot counts; 0: no trial restores by themselves.", min=0
        ),
    ] = 24,
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
) -> None:
    """Serve the management API until Ctrl-C; every cluster is stopped cleanly then."""
    log.configure(log_level)
    try:
        options = ServeOptions(
            state_dir=state_dir,
            host=host,
            port=port,
            auth=auth,
            pg_bin=pg_bin,
            region=region,
            also_regions=tuple(also_region or ()),
            archive=archive,
            kms=kms,
            kms_default_key=kms_default_key,
            manual_snapshot_quota=manual_snapshot_quota,
            replay_limit_mb=replay_limit_mb,
            prove_every=datetime.timedelta(hours=prove_every) if prove_every else None,
        )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(bootstrap.serve(options))
    except CannotServe as error:
        typer.echo(f"stilldb: {error}", err=True)
        raise typer.Exit(1) from None


@cli.command()
def env(
    state_dir: StateDir = DEFAULT_STATE,
    account: Annotated[str | None, typer.Option(help="An account that has an access key.")] = None,
    region: Annotated[str | None, typer.Option(help="A region that is served.")] = None,
) -> None:
    """Print the variables that point the AWS CLI and SDKs at the running service."""
    try:
        variables = bootstrap.connection(state_dir, account, region).environment()
    except NotServed as error:
        typer.echo(f"stilldb: {error}", err=True)
        typer.echo("false")  # so that eval "$(stilldb env)" fails, and what follows does not go to AWS itself
        raise typer.Exit(3) from None
    for name, value in variables.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def main() -> None:
    """The entry point of the ``stilldb`` command."""
    cli()


if __name__ == "__main__":
    main()
