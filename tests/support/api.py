"""The whole management API on in-memory twins, called as a client calls it, without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import botocore.serialize

from stilldb import bootstrap
from stilldb.awsapi import app, callers, model
from stilldb.awsapi.operations import OPERATIONS
from stilldb.control.context import Quotas
from support.asgi import Answer, call
from support.twins import Plane, plane, until

ARN = "arn:aws:rds:us-east-1:123456789012:"
GOOD = {"MasterUsername": "keeper", "MasterUserPassword": "long-enough!", "Engine": "docdb"}


def filtered(name: str, *values: str) -> dict[str, Any]:
    """The Filters parameter with one filter."""
    return {"Filters": [{"Name": name, "Values": list(values)}]}


class Failed(AssertionError):
    """An error answer where a result was expected."""

    def __init__(self, answer: Answer) -> None:
        self.status = answer.status
        self.code = answer.error()["Code"]
        self.message = answer.error()["Message"]
        super().__init__(f"{self.status} {self.code}: {self.message}")


class TwinApi:
    """The application over a plane of twins."""

    def __init__(self, running: Plane) -> None:
        self.plane = running
        handlers = {name: bootstrap.handler(running.controls, o) for name, o in OPERATIONS.items()}
        self.app = app.build(handlers, callers.anyone(running.controls.regions))

    async def raw(self, body: bytes | str, **more: Any) -> Answer:
        """Any request."""
        return await call(self.app, body.encode() if isinstance(body, str) else body, **more)

    async def __call__(self, operation: str, **params: Any) -> dict[str, Any]:
        """An operation's result; raises Failed."""
        request = botocore.serialize.create_serializer(
            "query", include_validation=False
        ).serialize_to_request(params, model.operation(operation))
        answer = await self.raw(urlencode(request["body"]))
        if answer.status >= 300:
            raise Failed(answer)
        return answer.result(operation)

    async def fault(self, operation: str, **params: Any) -> tuple[int, str, str]:
        """Status, code and message of the error that is expected."""
        try:
            result = await self(operation, **params)
        except Failed as failed:
            return failed.status, failed.code, failed.message
        raise AssertionError(f"{operation} succeeded: {result}")

    async def cluster(self, name: str = "alpha", **more: Any) -> dict[str, Any]:
        """An available cluster."""
        await self("CreateDBCluster", DBClusterIdentifier=name, **{**GOOD, **more})
        return await self.becomes("DBCluster", name, "available")

    async def instance(self, name: str = "alpha-1", cluster: str = "alpha", **more: Any) -> dict[str, Any]:
        """An available instance."""
        await self(
            "CreateDBInstance",
            DBInstanceIdentifier=name,
            DBClusterIdentifier=cluster,
            DBInstanceClass="db.r6g.large",
            Engine="docdb",
            **more,
        )
        return await self.becomes("DBInstance", name, "available")

    async def snapshot(self, name: str = "one", cluster: str = "alpha", **more: Any) -> dict[str, Any]:
        """An available snapshot."""
        await self(
            "CreateDBClusterSnapshot", DBClusterSnapshotIdentifier=name, DBClusterIdentifier=cluster, **more
        )
        return await self.becomes("DBClusterSnapshot", name, "available")

    async def becomes(self, kind: str, name: str, status: str) -> dict[str, Any]:
        """The resource, once it has the status; an empty one once it is gone, for the status ``gone``."""
        found: dict[str, Any] = {}
        word = "DBInstanceStatus" if kind == "DBInstance" else "Status"

        async def there() -> bool:
            try:
                listed = await self(f"Describe{kind}s", **{f"{kind}Identifier": name})
            except Failed as failed:
                found.clear()
                return status == "gone" and failed.status == 404
            found.update(listed[f"{kind}s"][0])
            return bool(found[word] == status)

        await until(there)
        return found


@asynccontextmanager
async def twin_api(quotas: Quotas | None = None) -> AsyncIterator[TwinApi]:
    """The API of a running plane of twins."""
    async with plane(quotas) as running:
        yield TwinApi(running)
