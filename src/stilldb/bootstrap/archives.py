"""Where the archives lie: in the state directory, or in the object store that ``--archive`` names, each region below its name."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from stilldb.bootstrap.options import CannotServe
from stilldb.control.ports import Transaction
from stilldb.domain.resources import Setting
from stilldb.domain.volumes import VolumeError
from stilldb.metadata.store import SqlStore
from stilldb.util.log import event
from stilldb.volume.objects import configure
from stilldb.volume.objects.store import ObjectStore

log = logging.getLogger("stilldb")

_SETTING = "archive"
_LOCAL = "the state directory"


async def open_archives(
    archive: str | None, regions: Sequence[str], store: SqlStore, *, used: bool
) -> dict[str, ObjectStore]:
    """The store of each region, none when they are in the state directory. ``used``: there are archives already.

    A store that does not answer is refused at its first use; later it may come back. Raises CannotServe and VolumeError.
    """
    place = _LOCAL if archive is None else _place(archive)
    kept = await store.run(lambda tx: _kept(tx, place, used=used))
    if kept is not None and kept != place:
        way = "without --archive" if kept == _LOCAL else f"with --archive {kept} and its options"
        raise CannotServe(
            f"the archives of this state directory are in {kept}, not in {place}: serve it {way}"
        )
    if archive is None:
        return {}
    found = {region: configure.open_store(_of_region(archive, region)) for region in regions}
    for region, each in found.items():
        try:
            await configure.probe(each)
        except VolumeError as error:
            if kept is None:
                raise
            log.error(event("the archive does not answer", region=region, reason=error))
    if kept is None:
        await store.run(lambda tx: tx.add(Setting(name=_SETTING, value=place)))
    return found


def _kept(tx: Transaction, place: str, *, used: bool) -> str | None:
    """Where the archives are; None when there can't be any yet."""
    kept = tx.get(Setting, _SETTING)
    if kept is not None:
        return kept.value
    return _LOCAL if used else None


def _place(archive: str) -> str:
    """The setting without its options, which may change."""
    return _joined(_split(archive)._replace(query="", fragment=""))


def _of_region(archive: str, region: str) -> str:
    url = _split(archive)
    return _joined(url._replace(path=f"{url.path}/{region}"))


def _split(archive: str) -> SplitResult:
    try:
        url = urlsplit(archive)
    except ValueError as error:
        raise CannotServe(f"{archive!r} is no object store: {error}") from None
    if url.scheme not in {"s3", "file"}:
        raise CannotServe(f"{archive!r} can't hold archives: give s3://BUCKET/PREFIX or file:///DIRECTORY")
    return url._replace(path=url.path.rstrip("/"))


def _joined(url: SplitResult) -> str:
    options = f"?{url.query}" if url.query else ""
    return f"{url.scheme}://{url.netloc}{url.path}{options}"
