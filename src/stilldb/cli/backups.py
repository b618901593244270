"""``stilldb backups``: the archives behind clusters and snapshots."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from stilldb.cli import output
from stilldb.cli.output import AsJson
from stilldb.cli.service import DEFAULT_STATE, Service, StateDir, scoped, told

app = typer.Typer(no_args_is_help=True, help="The archives behind clusters and snapshots.", callback=scoped)

OneCluster = Annotated[
    str | None,
    typer.Option("--cluster", help="One cluster's only: its name, or of a deleted one its resource id too."),
]


@app.command("list")
def list_backups(state_dir: StateDir = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """Whose backups there are, what moments they can restore, and their size; those of deleted clusters too."""
    with told():
        found = Service(state_dir).run("ListBackups")["backups"]
    if as_json:
        output.emit(found)
        return
    output.table(
        (
            "cluster",
            "archive",
            "state",
            "restorable from (UTC)",
            "to",
            "gaps#",
            "snapshots#",
            "size#",
            "expired#",
        ),
        [
            (
                one["cluster"] or "?",
                one["archive"],
                one["state"],
                output.stamp(one["earliest"]) if one["earliest"] else "-",
                output.stamp(one["latest"]) if one["latest"] else "-",
                len(one["gaps"]),
                len(one["snapshots"]),
                output.size(one["bytes"]),
                output.size(one["expired_bytes"]),
            )
            for one in found
        ],
        empty="no backups yet",
    )


@app.command()
def expire(
    dry_run: Annotated[
        bool | None, typer.Option("--dry-run/--now", help="Tell what would go and why, or let it go.")
    ] = None,
    cluster: OneCluster = None,
    state_dir: StateDir = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Every object with the reason why it is kept or deleted. It happens by itself; --now does not wait."""
    if dry_run is None:
        raise typer.BadParameter("say --dry-run (nothing is deleted) or --now")
    with told():
        found = Service(state_dir).run("ExpireBackups", cluster=cluster, dry_run=dry_run)["verdicts"]
    if as_json:
        output.emit(found)
        return
    output.table(
        ("", "cluster", "what", "name", "objects#", "size#", "reason"),
        [
            (
                _fate(one, dry_run),
                one["cluster"] or one["archive"],
                one["kind"],
                one["name"],
                one["objects"],
                output.size(one["bytes"]),
                one["reason"],
            )
            for one in found
        ],
        empty="no backups yet",
    )
    going = [one for one in found if not one["keep"]]
    freed = output.size(sum(one["bytes"] for one in going))
    verb = "would be deleted" if dry_run else "were deleted"
    typer.echo(f"{sum(one['objects'] for one in going)} objects {verb}, {freed}")


def _fate(verdict: dict[str, Any], dry_run: bool) -> str:
    if verdict["keep"]:
        return "keep"
    return "delete" if dry_run else "deleted"


@app.command()
def check(
    deep: Annotated[
        bool, typer.Option("--deep", help="Read and verify every byte, not just what the descriptions name.")
    ] = False,
    cluster: OneCluster = None,
    state_dir: StateDir = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Look for orphans, missing and damaged objects and broken chains; changes nothing. Exit code 1 if there are any."""
    with told(), output.progress("checking", quiet=as_json) as progress:
        found = Service(state_dir).run("CheckBackups", progress, cluster=cluster, deep=deep)
    if as_json:
        output.emit(found)
    else:
        output.table(
            ("cluster", "problem", "name", "detail"),
            [
                (one["cluster"] or one["archive"], one["kind"], one["name"], one["detail"])
                for one in found["problems"]
            ],
            empty="nothing is wrong",
        )
        read = f", every byte of {found['read']} read" if deep else ""
        typer.echo(
            f"{found['objects']} objects, {output.size(found['bytes'])}, in {found['archives']} archives{read}"
        )
    if found["problems"]:
        raise typer.Exit(output.FAILED)


@app.command()
def purge(
    cluster: Annotated[str, typer.Argument(help="A deleted cluster: its name, or its resource id.")],
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    state_dir: StateDir = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Drop the retained backups of a deleted cluster at once. Its manual snapshots stay."""
    if not yes:
        typer.confirm(
            f"Drop the retained backups of {cluster}? Its moments can't be restored then.", abort=True
        )
    with told():
        found = Service(state_dir).run("PurgeBackups", cluster=cluster)
    if as_json:
        output.emit(found)
    else:
        typer.echo(f"the retained backups of {found['cluster']} are gone; its manual snapshots stay")
