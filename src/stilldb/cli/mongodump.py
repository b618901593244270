"""The directory that mongorestore reads: ``<database>/<collection>.bson`` and ``<collection>.metadata.json``, from any MongoDB endpoint.

Users are left out: they belong to the deployment that the dump came from. The format is that of the MongoDB database tools
(mongodump, "Output Directory"; names as their ``outputPath`` makes them).
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import os
import pathlib
import shutil
import struct
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pymongo
from bson import json_util
from bson.binary import Binary
from bson.codec_options import CodecOptions, DatetimeConversion

Client = pymongo.MongoClient[Any]

# Names get no longer than a file name may be with the longest ending, .metadata.json.gz.
_LONGEST, _KEPT = 238, 208
_INDEX_VERSION = 2  # what MongoDB itself has; it refuses the 4 that DocumentDB shows
_LENGTH = struct.Struct("<i")
_PLAIN: CodecOptions[dict[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO)


@dataclasses.dataclass(frozen=True, slots=True)
class Dumped:
    """One collection in the dump."""

    namespace: str
    documents: int
    bytes: int


def file_name(collection: str) -> str:
    """The name of a collection's files without their ending."""
    escaped = urllib.parse.quote(collection, safe="$&+:=@~")
    if len(escaped) <= _LONGEST:
        return escaped
    mark = base64.urlsafe_b64encode(hashlib.sha1(collection.encode(), usedforsecurity=False).digest()).rstrip(
        b"="
    )
    return f"{escaped[:_KEPT]}%24{mark.decode()}"


def documents(batch: bytes) -> Iterator[bytes]:
    """The BSON documents that lie one after another in a batch."""
    at = 0
    while at < len(batch):
        (length,) = _LENGTH.unpack_from(batch, at)
        yield batch[at : at + length]
        at += length


def metadata(collection: str, info: Mapping[str, Any], indexes: list[dict[str, Any]]) -> str:
    """The content of ``.metadata.json``: canonical Extended JSON. ``info`` is the collection's entry of listCollections."""
    made: dict[str, Any] = {"indexes": [{**index, "v": _INDEX_VERSION} for index in indexes]}
    uuid = info.get("info", {}).get("uuid")
    if uuid is not None:
        made["uuid"] = (uuid if isinstance(uuid, Binary) else Binary.from_uuid(uuid)).hex()
    made |= {"collectionName": collection, "type": "collection", "options": info.get("options", {})}
    return json_util.dumps(made, json_options=json_util.CANONICAL_JSON_OPTIONS)


def dump(
    client: Client, directory: pathlib.Path, told: Callable[[Dumped], None] = lambda done: None
) -> list[Dumped]:
    """Write every collection of an endpoint that nobody writes to; the directory appears when it is complete.

    Raises FileExistsError when it is there already. ``told`` hears of each collection as it is done.
    """
    if directory.exists():
        raise FileExistsError(f"{directory} exists already; choose a new directory")
    draft = directory.with_name(directory.name + ".partial")
    if draft.exists():
        raise FileExistsError(
            f"{draft} is left of an export that was broken off, or one is writing it; remove it first"
        )
    draft.mkdir(parents=True)
    try:
        made = []
        for name in client.list_database_names():
            database = client.get_database(name)
            folder = draft / name
            folder.mkdir()
            for info in database.list_collections():
                made.append(_collection(database, info, folder))
                told(made[-1])
        draft.rename(directory)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return made


def _collection(
    database: pymongo.database.Database[Any], info: Mapping[str, Any], folder: pathlib.Path
) -> Dumped:
    name = info["name"]
    collection = database[name]
    count = size = 0
    with (folder / f"{file_name(name)}.bson").open("wb") as file:
        for batch in collection.find_raw_batches():
            file.write(batch)
            count += sum(1 for _ in documents(batch))
            size += len(batch)
        file.flush()
        os.fsync(file.fileno())
    indexes = [dict(index) for index in collection.with_options(_PLAIN).list_indexes()]
    (folder / f"{file_name(name)}.metadata.json").write_text(metadata(name, info, indexes))
    expected = collection.count_documents({})
    if count != expected:
        raise RuntimeError(f"{database.name}.{name}: {count} documents were read, {expected} are there")
    return Dumped(f"{database.name}.{name}", count, size)
