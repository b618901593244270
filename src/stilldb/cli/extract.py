"""One collection copied from one MongoDB endpoint to another, document for document and byte for byte, with its indexes.

The source does not change meanwhile: it is a snapshot. A target that this made is removed when the copy is broken off; one that was
there is only added to, and what is there already is left alone, so that an append that was broken off goes on when it is run again.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument
from pymongo import ASCENDING
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, PyMongoError

from stilldb.cli import mongodump

_BATCH_BYTES = 8 << 20
_BATCH = 5_000
_DUPLICATE_KEY = 11_000
_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
_PLAIN: CodecOptions[dict[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO)

Raw = Collection[RawBSONDocument]


class CannotExtract(Exception):
    """The collection is not copied, or not known to be; the message says why and what to do."""


@dataclasses.dataclass(frozen=True, slots=True)
class Extracted:
    """What was done. ``sha256`` is of the source's documents one after another in the order of ``_id``."""

    documents: int
    present: int  # of them there already, byte for byte the same
    bytes: int
    sha256: str
    indexes: tuple[str, ...]
    expiring: tuple[str, ...]  # the indexes among them that remove documents by age


def extract(
    source: Collection[Any],
    target: Collection[Any],
    *,
    append: bool = False,
    told: Callable[[int], None] = lambda documents: None,
) -> Extracted:
    """Copy, make the indexes, and compare what is there then with the source; raises CannotExtract and PyMongoError.

    Indexes that expire documents come last: they would remove old documents before they are compared.
    """
    source_raw, target_raw = source.with_options(_RAW), target.with_options(_RAW)
    indexes = _indexes(source)
    existed = _exists(target)
    if existed and not append:
        raise CannotExtract(
            f"{target.full_name} is there already. Name another target, or add to it with --append."
        )
    try:
        if not existed:
            target.database.create_collection(target.name)
        size, count, digest, present = _copy(source_raw, target_raw, told)
        staying = [spec for spec in indexes if "expireAfterSeconds" not in spec]
        expiring = [spec for spec in indexes if "expireAfterSeconds" in spec]
        _create_indexes(target, staying)
        if existed:
            _compare_each(source_raw, target_raw)
        else:
            _compare_whole(target_raw, count, digest)
        _create_indexes(target, expiring)
    except BaseException as error:
        if not existed:
            _undo(target, error)
        raise
    return Extracted(
        documents=count,
        present=present,
        bytes=size,
        sha256=digest,
        indexes=tuple(spec["name"] for spec in indexes),
        expiring=tuple(spec["name"] for spec in expiring),
    )


def _exists(collection: Collection[Any]) -> bool:
    return collection.name in collection.database.list_collection_names(filter={"name": collection.name})


def _indexes(source: Collection[Any]) -> list[dict[str, Any]]:
    """The specifications of the source's indexes besides ``_id``'s; raises CannotExtract when there is no such collection."""
    if not _exists(source):
        others = sorted(source.database.list_collection_names())
        has = f"it has {', '.join(others)}" if others else "it has no collection"
        raise CannotExtract(
            f"the snapshot has no collection {source.full_name}; in {source.database.name} {has}"
        )
    found = source.with_options(_PLAIN).list_indexes()
    return [
        {k: v for k, v in dict(spec).items() if k not in ("v", "ns")}
        for spec in found
        if spec["name"] != "_id_"
    ]


def _create_indexes(target: Collection[Any], specs: list[dict[str, Any]]) -> None:
    if specs:
        target.database.command("createIndexes", target.name, indexes=specs)


def _batches(raws: Collection[Any]) -> Iterator[list[bytes]]:
    """The documents in the order of ``_id``."""
    batch: list[bytes] = []
    size = 0
    for found in raws.find_raw_batches(sort=[("_id", ASCENDING)]):
        for raw in mongodump.documents(found):
            batch.append(raw)
            size += len(raw)
            if size >= _BATCH_BYTES or len(batch) >= _BATCH:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _copy(source: Raw, target: Raw, told: Callable[[int], None]) -> tuple[int, int, str, int]:
    """Bytes, documents, their hash, and how many of them were there already."""
    size = count = present = 0
    digest = hashlib.sha256()
    for batch in _batches(source):
        present += _insert(target, batch)
        for raw in batch:
            digest.update(raw)
            size += len(raw)
        count += len(batch)
        told(len(batch))
    return size, count, digest.hexdigest(), present


def _insert(target: Raw, batch: list[bytes]) -> int:
    """Insert what is not there; how many were, byte for byte. Raises CannotExtract for one that differs."""
    documents = [RawBSONDocument(raw) for raw in batch]
    try:
        target.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        failed = error.details["writeErrors"]
        other = [one for one in failed if one["code"] != _DUPLICATE_KEY]
        if other:
            raise CannotExtract(f"{target.full_name} refuses a document: {other[0]['errmsg']}") from error
        for one in failed:
            document = documents[one["index"]]
            kept = target.find_one({"_id": document["_id"]})
            if kept is None or kept.raw != document.raw:
                raise CannotExtract(
                    f"{target.full_name} holds another document where the snapshot has _id {document['_id']!r}: "
                    f"{one['errmsg']}. Nothing that was there is changed. Choose a new target, or remove that document "
                    "and run it again."
                ) from error
        return len(failed)
    return 0


def _undo(target: Collection[Any], error: BaseException) -> None:
    try:
        target.drop()
    except PyMongoError as second:
        raise CannotExtract(
            f"{error or type(error).__name__}; and the unfinished {target.full_name} could not be removed: {second}. Drop it yourself."
        ) from error


def _compare_each(source: Raw, target: Raw) -> None:
    """Each of the source's documents is in the target, byte for byte; raises CannotExtract."""
    for batch in _batches(source):
        wanted = [RawBSONDocument(raw)["_id"] for raw in batch]
        found = [document.raw for document in target.find({"_id": {"$in": wanted}}).sort("_id", ASCENDING)]
        if found != batch:
            raise CannotExtract(
                f"{target.full_name} does not hold what was inserted: of {len(batch)} documents from _id {wanted[0]!r} on, "
                f"{len(found)} are there or one was changed meanwhile. Run it again."
            )


def _compare_whole(target: Raw, count: int, digest: str) -> None:
    """What is there now, read back, against what was read; raises CannotExtract."""
    again, there = hashlib.sha256(), 0
    for batch in _batches(target):
        there += len(batch)
        for raw in batch:
            again.update(raw)
    if (there, again.hexdigest()) != (count, digest):
        raise CannotExtract(
            f"{target.full_name} holds {there} documents with SHA-256 {again.hexdigest()}, the snapshot's collection has {count} with "
            f"{digest}: something else wrote to it. It was removed again."
        )


FAILURES = (CannotExtract, PyMongoError)
