"""The ``stilldb`` command: serve, status, env."""

from __future__ import annotations

import asyncio
import pathlib
import shlex
from enum import StrEnum
from typing import Annotated, Any

import botocore.session
import typer
import uvloop
from botocore.exceptions import EndpointConnectionError

from stilldb import __version__, bootstrap
from stilldb.bootstrap import CannotServe, NotServed, ServeOptions
from stilldb.cli import keys
from stilldb.util import log

cli = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

StateDir = Annotated[
    pathlib.Path, typer.Option(help="The one directory that holds all state.", envvar="STILLDB_STATE_DIR")
]
DEFAULT_STATE = bootstrap.default_state()
cli.add_typer(keys.cli, name="keys")


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
    manual_snapshot_quota: Annotated[
        int, typer.Option(help="How many manual snapshots there can be.", min=1)
    ] = 100,
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
            manual_snapshot_quota=manual_snapshot_quota,
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


@cli.command()
def status(state_dir: StateDir = DEFAULT_STATE) -> None:
    """Tell what runs: clusters, instances and snapshots, by the management API."""
    client = _client(_environment(state_dir))
    clusters = _all(client, "describe_db_clusters", "DBClusters")
    if not clusters:
        typer.echo("no clusters yet")
    for cluster in clusters:
        members = len(cluster["DBClusterMembers"])
        typer.echo(
            f"cluster   {cluster['DBClusterIdentifier']:<32} {cluster['Status']:<16} "
            f"{cluster['Endpoint']}:{cluster['Port']}  {members} instance{'' if members == 1 else 's'}"
        )
    for instance in _all(client, "describe_db_instances", "DBInstances"):
        reasons = "; ".join(info["Message"] for info in instance.get("StatusInfos", ()))
        typer.echo(
            f"instance  {instance['DBInstanceIdentifier']:<32} {instance['DBInstanceStatus']:<16} {reasons}".rstrip()
        )
    for snapshot in _all(client, "describe_db_cluster_snapshots", "DBClusterSnapshots"):
        typer.echo(
            f"snapshot  {snapshot['DBClusterSnapshotIdentifier']:<32} {snapshot['Status']:<16} "
            f"{snapshot['SnapshotCreateTime']:%Y-%m-%d %H:%M:%S} UTC of {snapshot['DBClusterIdentifier']}"
        )


def _environment(state_dir: pathlib.Path) -> dict[str, str]:
    """The AWS_ variables of a state directory; ends the command when nothing serves it."""
    try:
        return bootstrap.connection(state_dir).environment()
    except NotServed as error:
        typer.echo(f"stilldb: {error}", err=True)
        raise typer.Exit(3) from None


def _client(environment: dict[str, str]) -> Any:
    return botocore.session.get_session().create_client(
        "docdb",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=environment["AWS_DEFAULT_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )


def _all(client: Any, operation: str, member: str) -> list[dict[str, Any]]:
    try:
        pages = client.get_paginator(operation).paginate()
        return [row for page in pages for row in page[member]]
    except EndpointConnectionError as error:
        typer.echo(f"stilldb: the service does not answer: {error}", err=True)
        raise typer.Exit(3) from None


def main() -> None:
    """The entry point of the ``stilldb`` command."""
    cli()


if __name__ == "__main__":
    main()
