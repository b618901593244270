"""``stilldb snapshots``: what can be done with snapshots besides restoring them. Those that move data are in moving.py."""

from __future__ import annotations

import contextlib
import json
import threading
from typing import Annotated, Any

import typer

from stilldb.cli import moving, output
from stilldb.cli.looking import connection_string, interruptible
from stilldb.cli.moving import Name
from stilldb.cli.output import AsJson
from stilldb.cli.service import DEFAULT_STATE, Service, StateDir, scoped, told

app = typer.Typer(
    no_args_is_help=True, help="Prove, look into, compare and move cluster snapshots.", callback=scoped
)
app.add_typer(moving.app)


@app.command("list")
def list_snapshots(state_dir: StateDir = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """Every snapshot, and when it was last proven by a trial restore."""
    with told():
        service = Service(state_dir)
        rows = service.all("describe_db_cluster_snapshots", "DBClusterSnapshots")
        proofs = service.call("ListProofs")["proofs"]
    if as_json:
        output.emit([{**row, "LastProof": proofs.get(row["DBClusterSnapshotIdentifier"])} for row in rows])
        return
    output.table(
        ("snapshot", "cluster", "type", "status", "taken (UTC)", "last proven"),
        [
            (
                row["DBClusterSnapshotIdentifier"],
                row["DBClusterIdentifier"],
                row["SnapshotType"],
                row["Status"],
                output.stamp(row["SnapshotCreateTime"]),
                _proven(proofs.get(row["DBClusterSnapshotIdentifier"])),
            )
            for row in rows
        ],
        empty="no snapshots yet",
    )


def _proven(proof: dict[str, Any] | None) -> str:
    if proof is None:
        return "never"
    when = output.ago(output.moment(proof["proven_at"]))
    return when if proof["ok"] else f"FAILED {when}: {proof['reason']}"


@app.command()
def prove(name: Name, state_dir: StateDir = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """Restore it into a throw-away PostgreSQL and check it, now. Exit code 1 if it does not restore."""
    with told(), output.progress(f"proving {name}", quiet=as_json) as progress:
        proof = Service(state_dir).run("ProveSnapshot", progress, snapshot=name)
    if as_json:
        output.emit(proof)
    elif proof["ok"]:
        rows = [(space, count) for space, count in sorted(proof["documents"].items())]
        output.table(("collection", "documents#"), rows, empty="it holds no collection")
        typer.echo(
            f"proven: {name} restores, {sum(proof['documents'].values())} documents in {output.size(proof['size'])}, "
            f"in {proof['seconds']:.1f} s"
        )
    else:
        output.fail(f"{name} does not restore: {proof['reason']}")
    if not proof["ok"]:
        raise typer.Exit(output.FAILED)


# -- look


@app.command()
def browse(
    name: Name,
    port: Annotated[
        int | None, typer.Option(help="The port to serve it on; else the cluster's.", min=1150, max=65535)
    ] = None,
    state_dir: StateDir = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Serve it read only on a MongoDB endpoint until Ctrl-C, without making a cluster."""
    with told(), interruptible():
        service = Service(state_dir)
        with contextlib.ExitStack() as stack:
            bundle = stack.enter_context(service.ca_bundle())
            with output.progress(f"opening {name}", quiet=as_json) as progress:
                look = stack.enter_context(service.look(name, port=port, progress=progress))
            _show(look, bundle, as_json)
            _until_interrupted(look["lost"])


def _show(look: dict[str, Any], bundle: str, as_json: bool) -> None:
    string = connection_string(look, bundle)
    if as_json:
        typer.echo(json.dumps({"connectionString": string, "address": look["address"], "port": look["port"]}))
        return
    typer.echo(f"{look['snapshot']} is served, read only, on\n\n  {string}\n")
    typer.echo("Its own users get in too. Ctrl-C ends it.")


def _until_interrupted(lost: threading.Event) -> None:
    try:
        while not lost.wait(0.5):
            pass
    except KeyboardInterrupt:
        typer.echo("closing …", err=True)
        return
    output.fail("the service has closed it")


# -- differences


@app.command()
def diff(
    old: Annotated[str, typer.Argument(help="A snapshot.")],
    new: Annotated[
        str, typer.Argument(help="A later snapshot, or cluster:NAME for what a cluster holds now.")
    ],
    examples: Annotated[int, typer.Option(help="How many _ids to show of each kind.", min=0, max=1000)] = 5,
    state_dir: StateDir = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Which collections changed, by how many documents, with examples; indexes and users too."""
    with told(), output.progress(f"comparing {old} and {new}", quiet=as_json) as progress:
        found = Service(state_dir).run("DiffSnapshots", progress, old=old, new=new, examples=examples)
    if as_json:
        output.emit(found)
        return
    output.table(
        ("collection", "", "added#", "removed#", "changed#", "unchanged#", "besides"),
        [
            (one["namespace"], one["state"], *_counts(one["documents"]), _besides(one))
            for one in found["collections"]
        ],
        empty="no collection differs",
    )
    for one in found["collections"]:
        for kind, ids in one["examples"].items():
            if ids:
                typer.echo(f"{one['namespace']} {kind}: {', '.join(json.dumps(value) for value in ids)}")
    for kind, names in found["users"].items():
        if names:
            typer.echo(f"users {kind}: {', '.join(names)}")
    if found["unchanged"]:
        typer.echo(f"{found['unchanged']} other collections are the same in both")


def _counts(documents: dict[str, int]) -> tuple[int, ...]:
    return tuple(documents[kind] for kind in ("added", "removed", "changed", "unchanged"))


def _besides(one: dict[str, Any]) -> str:
    said = [f"index {name} {kind}" for kind, names in one["indexes"].items() for name in names]
    said += ["dropped and made again"] if one["recreated"] else []
    said += ["options changed"] if one["options"] else []
    return ", ".join(said)
