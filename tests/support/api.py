"""The whole management API on in-memory twins, called as a client calls it, without a socket."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import botocore.serialize

from stilldb import bootstrap
from stilldb.awsapi import app, callers, model
from stilldb.awsapi.keys import AccessKey, KeyFile
from stilldb.awsapi.operations import OPERATIONS
from stilldb.control.context import Quotas
from stilldb.domain.names import DEFAULT_ACCOUNT
from support.asgi import Answer, call
from support.signing import signed
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
    """The application over a plane of twins; with a key, and a region to sign for, only what is signed is answered."""

    def __init__(self, running: Plane, keys: KeyFile | None = None) -> None:
        self.plane = running
        self.key: AccessKey | None = None
        self.region = running.controls.regions[0]
        handlers = {name: bootstrap.handler(running.controls, o) for name, o in OPERATIONS.items()}
        regions = running.controls.regions
        self.app = app.build(
            handlers, callers.anyone(regions) if keys is None else callers.signed(regions, keys.find)
        )

    def signing(self, key: AccessKey, region: str) -> TwinApi:
        """The same application, called with a key's signature for a region."""
        other = copy.copy(self)
        other.key, other.region = key, region
        return other

    async def raw(self, body: bytes | str, **more: Any) -> Answer:
        """Any request; signed, when there is a key."""
        content = body.encode() if isinstance(body, str) else body
        if self.key is not None:
            request = signed(
                body=content.decode(),
                key=self.key.access_key_id,
                secret=self.key.secret_access_key,
                region=self.region,
            )
            more["headers"] = {name: values[0] for name, values in request.headers.items()}
        return await call(self.app, content, **more)

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
async def twin_api(
    quotas: Quotas | None = None, *, regions: Sequence[str] = ("us-east-1",), keys: KeyFile | None = None
) -> AsyncIterator[TwinApi]:
    """The API of a running plane of twins; with ``keys`` it answers what is signed with one of them only."""
    known = {DEFAULT_ACCOUNT} if keys is None else keys.accounts
    async with plane(quotas, regions=regions, accounts=known) as running:
        yield TwinApi(running, keys)
