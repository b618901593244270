"""``stilldb keys``: the access keys of a state directory, each of an account. It need not be served."""

from __future__ import annotations

from typing import Annotated

import typer

from stilldb import bootstrap
from stilldb.bootstrap import KeyRefused
from stilldb.cli.output import fail
from stilldb.cli.service import DEFAULT_STATE, StateDir

cli = typer.Typer(no_args_is_help=True, help=__doc__)


@cli.command()
def create(
    account: Annotated[
        str, typer.Option(help="The account it belongs to: 12 digits.")
    ] = bootstrap.DEFAULT_ACCOUNT,
    name: Annotated[str, typer.Option(help="What it is for, for people.")] = "",
    state_dir: StateDir = DEFAULT_STATE,
) -> None:
    """Make an access key; a running service takes it at once."""
    try:
        made = bootstrap.create_key(state_dir, account, name)
    except KeyRefused as error:
        fail(error)
    typer.echo(f"account            {made.account}")
    typer.echo(f"access key id      {made.access_key_id}")
    typer.echo(f"secret access key  {made.secret_access_key}")


@cli.command("list")
def listed(state_dir: StateDir = DEFAULT_STATE) -> None:
    """Tell the access keys and their accounts, without the secrets."""
    try:
        found = bootstrap.keys(state_dir)
    except KeyRefused as error:
        fail(error)
    for key in found:
        typer.echo(f"{key.access_key_id}  {key.account}  {key.name}".rstrip())
    if not found:
        typer.echo("no access keys yet")


@cli.command()
def delete(access_key_id: str, state_dir: StateDir = DEFAULT_STATE) -> None:
    """Delete an access key; a running service refuses it at once."""
    try:
        gone = bootstrap.delete_key(state_dir, access_key_id)
    except KeyRefused as error:
        fail(error)
    typer.echo(f"deleted {gone.access_key_id} of account {gone.account}")
