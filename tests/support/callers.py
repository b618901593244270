"""Operations called for any account and region of a plane of twins, without the chain before them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from stilldb.awsapi.operations import OPERATIONS
from stilldb.control.context import Control
from stilldb.domain.faults import Fault
from stilldb.domain.names import Scope
from support.api import GOOD
from support.twins import Plane, until


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """An account in a region."""

    control: Control

    async def __call__(self, operation: str, **params: Any) -> Mapping[str, Any]:
        """The operation's result; raises Fault."""
        declared = OPERATIONS[operation]
        declared.check(params)
        return await declared.run(self.control, params)

    async def cluster(self, name: str = "alpha", **more: Any) -> None:
        """An available cluster."""
        await self("CreateDBCluster", DBClusterIdentifier=name, **{**GOOD, **more})
        await self.becomes("DBCluster", name, "available")

    async def snapshot(self, name: str = "one", cluster: str = "alpha") -> str:
        """The ARN of an available snapshot."""
        asked = {"DBClusterSnapshotIdentifier": name, "DBClusterIdentifier": cluster}
        made = await self("CreateDBClusterSnapshot", **asked)
        await self.becomes("DBClusterSnapshot", name, "available")
        arn: str = made["DBClusterSnapshot"]["DBClusterSnapshotArn"]
        return arn

    async def becomes(self, kind: str, name: str, status: str) -> Mapping[str, Any]:
        """The resource once it has the status."""
        found: dict[str, Any] = {}

        async def there() -> bool:
            try:
                (row,) = (await self(f"Describe{kind}s", **{f"{kind}Identifier": name}))[f"{kind}s"]
            except Fault as fault:
                return fault.status == 404 and status == "gone"
            found.clear()
            found.update(row)
            return bool(row["Status"] == status)

        await until(there)
        return found

    async def names(self, **params: Any) -> list[str]:
        """The identifiers of the cluster snapshots that a Describe lists."""
        listed = (await self("DescribeDBClusterSnapshots", **params))["DBClusterSnapshots"]
        return [row["DBClusterSnapshotIdentifier"] for row in listed]


def caller(running: Plane, account: str, region: str) -> Caller:
    """An account in a region of the plane."""
    return Caller(running.controls.of(Scope(account, region)))
