"""``stilldb keyring``: the KMS keys that data keys are wrapped with."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from stilldb.cli import output
from stilldb.cli.output import AsJson
from stilldb.cli.service import DEFAULT_STATE, Service, StateDir, scoped, told

app = typer.Typer(no_args_is_help=True, help="The KMS keys of the local key ring.", callback=scoped)

KeyId = Annotated[str, typer.Argument(help="A key's id, ARN or alias.")]


@app.command("list")
def list_keys(state_dir: StateDir = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """Every key of the account in this region."""
    with told():
        found = Service(state_dir).call("ListKeys")["keys"]
    if as_json:
        output.emit(found)
        return
    output.table(
        ("arn", "aliases", "state", "default"),
        [
            (key["arn"], ", ".join(key["aliases"]), _state(key), "yes" if key["default"] else "")
            for key in found
        ],
        empty="no keys yet; the default one is made when it is first needed",
    )


def _state(key: dict[str, Any]) -> str:
    return "enabled" if key["enabled"] else "disabled"


@app.command()
def create(
    alias: Annotated[str | None, typer.Option(help="A name, alias/NAME.")] = None,
    state_dir: StateDir = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """A new key."""
    _change("CreateKey", state_dir, as_json, alias=alias)


@app.command()
def enable(key: KeyId, state_dir: StateDir = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """Open a key again."""
    _change("EnableKey", state_dir, as_json, key_id=key)


@app.command()
def disable(key: KeyId, state_dir: StateDir = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """Close a key: what is encrypted under it can't be restored until it is enabled."""
    _change("DisableKey", state_dir, as_json, key_id=key)


def _change(verb: str, state_dir: Any, as_json: bool, **given: Any) -> None:
    with told():
        made = Service(state_dir).call(verb, **given)
    if as_json:
        output.emit(made)
    else:
        typer.echo(f"{made['arn']} is {_state(made)}")


@app.command()
def delete(
    key: KeyId,
    confirm: Annotated[
        str, typer.Option(help="The key's full ARN again: what is encrypted under it is lost.")
    ],
    state_dir: StateDir = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Remove a key for ever, and with it whatever is encrypted under it."""
    with told():
        Service(state_dir).call("DeleteKey", key_id=key, confirmed_arn=confirm)
    if as_json:
        output.emit({"deleted": confirm})
    else:
        typer.echo(f"{confirm} is gone for ever")
