"""Snapshots across accounts: the attribute ``restore``, and which snapshots of others this account sees. Source: API reference."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterator, Sequence

from stilldb.control import snapshots
from stilldb.control.context import Control
from stilldb.control.outside import asked
from stilldb.control.ports import Transaction
from stilldb.control.views import Page
from stilldb.domain import engine
from stilldb.domain.faults import (
    InvalidDBClusterSnapshotStateFault,
    InvalidParameterCombination,
    InvalidParameterValue,
    SharedSnapshotQuotaExceeded,
)
from stilldb.domain.names import Deployment, Place
from stilldb.domain.resources import Snapshot, SnapshotStatus

RESTORE = "restore"
ALL = "all"
SHARED, PUBLIC = "shared", "public"
OWN = (snapshots.MANUAL, snapshots.AUTOMATED)
_ACCOUNT = re.compile(r"\d{12}", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class SnapshotView:
    """A snapshot as an account sees it: ``kind`` is its type, or shared or public for another account's."""

    snapshot: Snapshot
    owner: Deployment
    kind: str

    @property
    def arn(self) -> str:
        """The snapshot's ARN."""
        return self.owner.arn("cluster-snapshot", self.snapshot.identifier)

    @property
    def identifier(self) -> str:
        """What names it to the viewer: of another account's snapshot the ARN."""
        return self.snapshot.identifier if self.kind in OWN else self.arn


def own_view(control: Control, snapshot: Snapshot) -> SnapshotView:
    """The snapshot as its own account sees it."""
    return SnapshotView(snapshot, control.deployment, snapshot.snapshot_type)


def require(tx: Transaction, control: Control, source: Place) -> Snapshot:
    """The snapshot at this place, if it is this account's or shared with it; else it is not found."""
    if source.is_of(control.deployment):
        snapshot = tx.get(Snapshot, source.name)
        if snapshot is None:
            raise snapshots.not_found(source.name)
        return snapshot
    arn = Deployment(source.account, source.region).arn("cluster-snapshot", source.name)
    snapshot = tx.within(source.account, source.region).get(Snapshot, source.name)
    mine = control.deployment.account
    if snapshot is None or (source.account != mine and _seen_as(snapshot, mine) is None):
        raise snapshots.not_found(arn)
    return snapshot


def _seen_as(snapshot: Snapshot, account: str) -> str | None:
    """How an account that does not own the snapshot sees it: shared, public, or not at all."""
    if snapshot.status is not SnapshotStatus.AVAILABLE:
        return None
    if account in snapshot.restorable_by:
        return SHARED
    return PUBLIC if ALL in snapshot.restorable_by else None


async def named(control: Control, source: Place, page: Page) -> SnapshotView:
    """The snapshot with this name or ARN; not found when a filter of the page excludes it."""

    def work(tx: Transaction) -> SnapshotView:
        snapshot = require(tx, control, source)
        if not _fits(snapshot, page):
            raise snapshots.not_found(source.name)
        if source.account == control.deployment.account:
            return SnapshotView(snapshot, Deployment(source.account, source.region), snapshot.snapshot_type)
        kind = _seen_as(snapshot, control.deployment.account)
        assert kind is not None, "required above"
        return SnapshotView(snapshot, Deployment(source.account, source.region), kind)

    return await control.store.run(work)


async def listed(control: Control, kinds: Collection[str], page: Page) -> list[SnapshotView]:
    """A page of the snapshots of these kinds that the account sees in this region, ordered by what names them."""
    own = [kind for kind in OWN if kind in kinds]

    def work(tx: Transaction) -> list[SnapshotView]:
        if not {SHARED, PUBLIC} & set(kinds):
            equals = {**page.equals, "snapshot_type": own}
            rows = tx.find(Snapshot, **dataclasses.replace(page, equals=equals).arguments())
            return [own_view(control, row) for row in rows]
        found = [own_view(control, row) for row in tx.find(Snapshot, snapshot_type=own)]
        found += [view for view in _of_others(tx, control) if view.kind in kinds]
        fitting = [view for view in found if _fits(view.snapshot, page)]
        fitting = [view for view in fitting if page.after is None or view.identifier > page.after]
        return sorted(fitting, key=lambda view: view.identifier)[: page.limit + 1]

    return await control.store.run(work)


def _of_others(tx: Transaction, control: Control) -> Iterator[SnapshotView]:
    mine = control.deployment
    for scope, row in tx.everywhere(Snapshot, snapshot_type=snapshots.MANUAL):
        if scope.region == mine.region and scope.account != mine.account:
            kind = _seen_as(row, mine.account)
            if kind is not None:
                yield SnapshotView(row, Deployment(scope.account, scope.region), kind)


def _fits(snapshot: Snapshot, page: Page) -> bool:
    return all(getattr(snapshot, field) in values for field, values in page.equals.items())


async def attributes(control: Control, identifier: str) -> Snapshot:
    """DescribeDBClusterSnapshotAttributes: the snapshot, which must be this account's."""

    def work(tx: Transaction) -> Snapshot:
        snapshot = tx.get(Snapshot, identifier)
        if snapshot is None:
            raise snapshots.not_found(identifier)
        return snapshot

    return await control.store.run(work)


async def modify(
    control: Control, identifier: str, attribute: str, add: Sequence[str], remove: Sequence[str]
) -> Snapshot:
    """ModifyDBClusterSnapshotAttribute: the snapshot with the changed set of accounts that may restore it."""
    _check(attribute, add, remove)
    if add:
        await _refuse_encrypted(control, await attributes(control, identifier), add)

    def work(tx: Transaction) -> Snapshot:
        snapshot = tx.get(Snapshot, identifier)
        if snapshot is None:
            raise snapshots.not_found(identifier)
        _refuse_state(snapshot)
        allowed = tuple(sorted({*snapshot.restorable_by, *add} - set(remove)))
        most = engine.ACCOUNTS_SHARED_WITH
        if len([value for value in allowed if value != ALL]) > most:
            raise SharedSnapshotQuotaExceeded(
                f"Cannot share a cluster snapshot with more than {most} accounts"
            )
        changed = dataclasses.replace(snapshot, restorable_by=allowed)
        tx.save(changed)
        return changed

    return await control.store.run(work)


def _check(attribute: str, add: Sequence[str], remove: Sequence[str]) -> None:
    if attribute != RESTORE:
        raise InvalidParameterValue(f"Invalid snapshot attribute {attribute}")
    for value in (*add, *remove):
        if value != ALL and not _ACCOUNT.fullmatch(value):
            raise InvalidParameterValue(
                f"Invalid value {value} for the attribute {RESTORE}. Give account ids of 12 digits, or {ALL}."
            )
    both = sorted(set(add) & set(remove))
    if both:
        raise InvalidParameterCombination(
            f"A value may not appear in both the add list and remove list. {both}"
        )


def _refuse_state(snapshot: Snapshot) -> None:
    if snapshot.snapshot_type != snapshots.MANUAL:
        raise InvalidDBClusterSnapshotStateFault(
            f"{snapshot.snapshot_type} snapshots cannot be modified. Copy it, and share the copy."
        )
    if snapshot.status is not SnapshotStatus.AVAILABLE:
        raise InvalidDBClusterSnapshotStateFault(
            f"The cluster snapshot {snapshot.identifier} is in status {snapshot.status}; it can be shared once it is "
            "available."
        )


async def _refuse_encrypted(control: Control, snapshot: Snapshot, add: Sequence[str]) -> None:
    _refuse_state(snapshot)
    if snapshot.kms_key_arn is None:
        return
    if ALL in add:
        raise InvalidDBClusterSnapshotStateFault(
            f"The cluster snapshot {snapshot.identifier} is encrypted and can't be made public. Share it with accounts."
        )
    with asked("The key service"):
        default = await control.kms.is_default(snapshot.kms_key_arn)
    if default:
        raise InvalidDBClusterSnapshotStateFault(
            "Sharing snapshots encrypted with the default service key for RDS is currently not supported. Copy the "
            "snapshot with CopyDBClusterSnapshot and a KmsKeyId of your own, and share the copy."
        )
