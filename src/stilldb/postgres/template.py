"""The template that new volumes are copied from: initdb once a deployment and PostgreSQL version."""

from __future__ import annotations

import os
import pathlib

from stilldb.domain.volumes import VolumeError
from stilldb.postgres import config
from stilldb.postgres.programs import Programs
from stilldb.postgres.server import Server
from stilldb.util import files, processes

FORMAT = 1  # grows when what the template holds changes


async def ensure(directory: pathlib.Path, sockets: pathlib.Path, programs: Programs) -> pathlib.Path:
    """The template's data directory, made when it is not there; whole or not at all."""
    target = directory / f"postgresql-{programs.version}-{FORMAT}"
    if not target.exists():
        draft = directory / f"{target.name}.draft"
        await _server(draft, sockets, programs).stop()  # of an attempt whose process was killed
        files.remove_tree(draft)
        await _initdb(draft, programs)
        await _one_database(draft, sockets, programs)
        files.flush_filesystem(draft)
        draft.rename(target)
        files.flush_directory(directory)
    return target


async def _initdb(data: pathlib.Path, programs: Programs) -> None:
    files.make_directory(data, 0o700, programs.run_as)
    code, output = await processes.run(
        [
            programs["initdb"],
            f"--pgdata={data}",
            f"--username={config.USER}",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--data-checksums",
            "--no-sync",
        ],
        run_as=programs.run_as,
    )
    if code != 0:
        raise VolumeError(f"initdb failed: {output.strip()}")


async def _one_database(data: pathlib.Path, sockets: pathlib.Path, programs: Programs) -> None:
    """Keep a single database: each of the usual three is 300 files that every volume, backup and restore would copy."""
    server = _server(data, sockets, programs)
    server.configure()
    await server.start()
    try:
        await _execute(server, "template1", f"ALTER DATABASE postgres RENAME TO {config.DATABASE}")
        for name in ("template0", "template1"):
            await _execute(server, config.DATABASE, f"ALTER DATABASE {name} IS_TEMPLATE false")
            await _execute(server, config.DATABASE, f"DROP DATABASE {name}")
    finally:
        await server.stop()
    os.unlink(server.log)


def _server(data: pathlib.Path, sockets: pathlib.Path, programs: Programs) -> Server:
    return Server(data=data, sockets=sockets, log=data.with_suffix(".log"), programs=programs)


async def _execute(server: Server, database: str, statement: str) -> None:
    connection = await server.connect(database)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
