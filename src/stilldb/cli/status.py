"""``stilldb status``: what runs, what is pending and what is in trouble, in every region of an account."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from stilldb.cli import output
from stilldb.cli.service import DEFAULT_STATE, Service, StateDir, scoped, told

_NAME, _STATUS = 32, 16


def status(
    state_dir: StateDir = DEFAULT_STATE,
    account: Annotated[str | None, typer.Option(help="An account that has an access key.")] = None,
    as_json: output.AsJson = False,
) -> None:
    """Tell what runs: clusters, instances, snapshots and pending jobs of every region."""
    scoped(account, None)
    service = Service(state_dir)
    with told():
        found = service.call("DescribeStatus")
    if as_json:
        output.emit(found)
        return
    regions = found["regions"]
    for region in regions:
        if len(regions) > 1:
            typer.echo(f"region    {region['region']}")
        for line in _lines(region):
            typer.echo(line.rstrip())


def _lines(region: Mapping[str, Any]) -> Iterator[str]:
    if not region["clusters"]:
        yield "no clusters yet"
    for cluster in region["clusters"]:
        members = len(cluster["instances"])
        where = f"{cluster['endpoint']}:{cluster['port']}  {members} instance{'' if members == 1 else 's'}"
        yield _line("cluster", cluster, f"{where}  {cluster['reason']}")
    for instance in region["instances"]:
        yield _line("instance", instance, instance["reason"])
    for snapshot in region["snapshots"]:
        taken = f"{output.stamp(snapshot['created_at'])} UTC of {snapshot['cluster']}"
        yield _line("snapshot", snapshot, f"{taken}  {snapshot['reason']}")
    for job in region["jobs"]:
        tried = f"attempt {job['attempts'] + 1}, since {output.stamp(job['since'])} UTC"
        yield _line("job", {"identifier": job["resource"], "status": job["kind"]}, f"{tried}  {job['error']}")


def _line(kind: str, row: Mapping[str, Any], rest: str) -> str:
    return f"{kind:<9} {row['identifier']:<{_NAME}} {row['status']:<{_STATUS}} {rest}"
