"""The commands of ``stilldb snapshots`` that move data: extract, export, import."""

from __future__ import annotations

import base64
import enum
import os
import pathlib
from typing import Annotated, Any

import pymongo
import typer
from pymongo.errors import PyMongoError

from stilldb.cli import exports, extract, mongodump, output
from stilldb.cli.exports import DamagedExport
from stilldb.cli.extract import CannotExtract
from stilldb.cli.looking import browsed, interruptible
from stilldb.cli.output import AsJson
from stilldb.cli.service import DEFAULT_STATE, Service, StateDir, told

app = typer.Typer()

_PART = 700_000  # bytes of an object that one request carries
_PASSPHRASE = "STILLDB_EXPORT_PASSPHRASE"

Name = Annotated[str, typer.Argument(help="The snapshot's identifier.")]
Passphrase = Annotated[
    pathlib.Path | None,
    typer.Option(
        "--passphrase-file",
        help=f"A file whose first line is the passphrase of an encrypted snapshot's export; else {_PASSPHRASE}, else asked for.",
    ),
]


class Format(enum.StrEnum):
    """What an export is for."""

    STILLDB = "stilldb"
    MONGODUMP = "mongodump"


# -- one collection


@app.command("extract")
def extract_collection(
    name: Name,
    collection: Annotated[str, typer.Option(help="The collection in the snapshot, database.collection.")],
    into: Annotated[
        str, typer.Option(help="The running cluster and the new collection, CLUSTER/database.collection.")
    ],
    append: Annotated[bool, typer.Option("--append", help="Add to a collection that is there.")] = False,
    username: Annotated[
        str | None, typer.Option(help="User of the running cluster; else its master user.")
    ] = None,
    password: Annotated[
        str | None,
        typer.Option(help="The user's password; asked for unless given.", envvar="STILLDB_PASSWORD"),
    ] = None,
    state_dir: StateDir = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Bring one collection back, document for document, with its indexes, into a running cluster."""
    cluster, _, target = into.partition("/")
    source_names, target_names = _namespace(collection, "--collection"), _namespace(target, "--into CLUSTER/")
    with told(), interruptible():
        service = Service(state_dir)
        endpoint = _endpoint(service, cluster)
        if password is None:
            password = typer.prompt(
                f"Password of {username or endpoint['MasterUsername']}", hide_input=True, err=True
            )
        with (
            service.ca_bundle() as bundle,
            _writer(endpoint, username or endpoint["MasterUsername"], password, bundle) as writer,
            browsed(service, name, f"opening {name}", quiet=as_json) as reader,
        ):
            done = _extract(reader, source_names, writer, target_names, append=append, quiet=as_json)
    if as_json:
        output.emit({**_fields(done), "namespace": target})
        return
    there = f", {done.present} of them there already" if done.present else ""
    typer.echo(
        f"{target} of {cluster} has {done.documents} documents of {name}{there}; SHA-256 {done.sha256}"
    )
    if done.indexes:
        typer.echo(f"indexes: {', '.join(done.indexes)}")
    if done.expiring:
        typer.echo(
            f"documents that are too old by {', '.join(done.expiring)} will be removed by the cluster",
            err=True,
        )


def _fields(done: extract.Extracted) -> dict[str, Any]:
    return {name: getattr(done, name) for name in done.__slots__}


def _namespace(text: str, option: str) -> tuple[str, str]:
    database, _, collection = text.partition(".")
    if not database or not collection:
        raise typer.BadParameter(f"{option} must name database.collection, not {text!r}")
    return database, collection


def _endpoint(service: Service, cluster: str) -> dict[str, Any]:
    (found,) = service.docdb.describe_db_clusters(DBClusterIdentifier=cluster)["DBClusters"]
    if not found["DBClusterMembers"]:
        output.fail(f"the cluster {cluster} has no instance to write to; create one first (CreateDBInstance)")
    return dict(found)


def _writer(endpoint: dict[str, Any], username: str, password: str, bundle: str) -> pymongo.MongoClient[Any]:
    return pymongo.MongoClient(
        endpoint["Endpoint"],
        endpoint["Port"],
        username=username,
        password=password,
        tls=True,
        tlsCAFile=bundle,
        directConnection=True,
        retryWrites=False,
    )


def _extract(
    reader: pymongo.MongoClient[Any],
    source: tuple[str, str],
    writer: pymongo.MongoClient[Any],
    target: tuple[str, str],
    *,
    append: bool,
    quiet: bool,
) -> extract.Extracted:
    try:
        found = reader[source[0]][source[1]]
        total, copied = max(found.estimated_document_count(), 1), 0
        with output.progress(f"copying {found.full_name}", quiet=quiet) as progress:

            def copy_told(documents: int) -> None:
                nonlocal copied
                copied += documents
                progress(min(100, 100 * copied // total))

            return extract.extract(found, writer[target[0]][target[1]], append=append, told=copy_told)
    except KeyboardInterrupt:
        how = "run it again to go on" if append else "nothing of it is left"
        output.fail(f"broken off; {how}")
    except (CannotExtract, PyMongoError) as error:
        output.fail(error)


# -- exports


@app.command()
def export(
    name: Name,
    directory: Annotated[pathlib.Path, typer.Argument(help="A new directory.")],
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            help="stilldb: the objects as they are, for `snapshots import`. mongodump: what mongorestore reads, without users.",
        ),
    ] = Format.STILLDB,
    passphrase_file: Passphrase = None,
    state_dir: StateDir = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Write it to a directory that another StillDB imports, or that mongorestore reads."""
    with told(), interruptible():
        service = Service(state_dir)
        try:
            if form is Format.MONGODUMP:
                done = _dump(service, name, directory, quiet=as_json)
            else:
                done = _export(service, name, directory, passphrase_file, quiet=as_json)
        except KeyboardInterrupt:
            output.fail(f"broken off; nothing of {directory} is left")
        except (OSError, PyMongoError, RuntimeError) as error:
            output.fail(error)
    if as_json:
        output.emit({"directory": str(directory), "format": form.value, **done})
    else:
        typer.echo(f"{name} is in {directory}: {', '.join(f'{value} {what}' for what, value in _said(done))}")
        if form is Format.STILLDB:
            typer.echo(f"check it: cd {directory} && sha256sum -c SHA256SUMS")


def _said(done: dict[str, Any]) -> list[tuple[str, Any]]:
    return [
        ("of data", output.size(value)) if what == "bytes" else (what, value) for what, value in done.items()
    ]


def _dump(service: Service, name: str, directory: pathlib.Path, *, quiet: bool) -> dict[str, Any]:
    with browsed(service, name, f"opening {name}", quiet=quiet) as reader:
        made = mongodump.dump(reader, directory)
    return {
        "collections": len(made),
        "documents": sum(one.documents for one in made),
        "bytes": sum(one.bytes for one in made),
    }


def _export(
    service: Service, name: str, directory: pathlib.Path, passphrase_file: pathlib.Path | None, *, quiet: bool
) -> dict[str, Any]:
    (row,) = service.docdb.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=name)[
        "DBClusterSnapshots"
    ]
    passphrase = _passphrase(passphrase_file, new=True) if row.get("StorageEncrypted") else None
    parcel = service.call("DescribeExport", snapshot=name, passphrase=passphrase)
    keys = [*parcel["keys"], parcel["manifest_key"]]
    with output.progress(f"exporting {name}", quiet=quiet) as progress:
        done = 0

        def fetch(key: str) -> bytes:
            if key == parcel["manifest_key"]:
                return base64.b64decode(parcel["manifest"])
            answer = service.call("GetExportedObject", snapshot=name, key=key)
            return base64.b64decode(answer["content"])

        def written(size: int) -> None:
            nonlocal done
            done += 1
            progress(100 * done // len(keys))

        size = exports.write(directory, parcel["description"], keys, fetch, written)
    return {"objects": len(keys), "bytes": size}


def _passphrase(file: pathlib.Path | None, *, new: bool) -> str:
    if file is not None:
        lines = file.read_text().splitlines()
        if not lines:
            output.fail(f"{file} is empty; its first line must be the passphrase")
        return lines[0]
    if _PASSPHRASE in os.environ:
        return os.environ[_PASSPHRASE]
    asked: str = typer.prompt("Passphrase of the export", hide_input=True, confirmation_prompt=new, err=True)
    return asked


@app.command("import")
def import_snapshot(
    directory: Annotated[pathlib.Path, typer.Argument(help="What `snapshots export` wrote.")],
    name: Annotated[
        str | None, typer.Option("--as", help="The new snapshot's identifier; else the one that it had.")
    ] = None,
    kms_key_id: Annotated[
        str | None, typer.Option(help="The KMS key of an encrypted one; else the default key.")
    ] = None,
    passphrase_file: Passphrase = None,
    state_dir: StateDir = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Make an exported snapshot one of this deployment, every byte verified."""
    with told(), interruptible():
        service = Service(state_dir)
        try:
            description = exports.read(directory)
            passphrase = _passphrase(passphrase_file, new=False) if description["encrypted"] else None
            made = _import(service, directory, description, name, kms_key_id, passphrase, quiet=as_json)
        except KeyboardInterrupt:
            output.fail("broken off; nothing was imported")
        except (DamagedExport, OSError) as error:
            output.fail(error)
    if as_json:
        output.emit(made)
    else:
        typer.echo(
            f"{made['snapshot']} is available, from {description['arn']} of {description['exported_at']}"
        )


def _import(
    service: Service,
    directory: pathlib.Path,
    description: dict[str, Any],
    name: str | None,
    kms_key_id: str | None,
    passphrase: str | None,
    *,
    quiet: bool,
) -> dict[str, Any]:
    keys = description["objects"]
    told_of = {field: value for field, value in description.items() if field != "objects"}
    import_id = service.call("BeginImport", description=told_of)["import_id"]
    try:
        with output.progress("sending", quiet=quiet) as progress:
            for number, key in enumerate(keys):
                _send(service, import_id, key, exports.content(directory, key))
                progress(100 * (number + 1) // len(keys))
        with output.progress("importing", quiet=quiet) as progress:
            return service.run(
                "FinishImport",
                progress,
                import_id=import_id,
                snapshot=name,
                kms_key_id=kms_key_id,
                passphrase=passphrase,
            )
    except BaseException:
        service.attempt("AbandonImport", import_id=import_id)
        raise


def _send(service: Service, import_id: str, key: str, content: bytes) -> None:
    for offset in range(0, max(len(content), 1), _PART):
        part = base64.b64encode(content[offset : offset + _PART]).decode()
        service.call(
            "PutImportedObject", import_id=import_id, key=key, content=part, offset=offset, total=len(content)
        )
