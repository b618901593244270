"""One key service of all accounts: the ARN says whose a key is."""

from __future__ import annotations

import pathlib

import pytest

from stilldb.domain.faults import KMSKeyNotAccessibleFault
from stilldb.domain.names import Scope
from stilldb.volume.keyring import Kms, LocalKeyring
from stilldb.volume.keyrings import EveryAccount

CONTEXT = {"volume": "cluster-A/1"}


async def test_by_arn_of_any_account_and_region(tmp_path: pathlib.Path) -> None:
    def of(scope: Scope) -> LocalKeyring:
        return LocalKeyring(tmp_path, scope.account, scope.region)

    keys: Kms = EveryAccount(of)
    arns = [
        (await of(Scope(account, region)).create()).arn
        for account, region in (("111111111111", "us-east-1"), ("222222222222", "eu-west-1"))
    ]
    for arn in arns:
        made, wrapped = await keys.generate_data_key(arn, CONTEXT)
        assert await keys.unwrap(wrapped, arn, CONTEXT) == made
        for other in arns:
            assert await keys.unwrap(await keys.wrap(made, other, CONTEXT), other, CONTEXT) == made
        assert (await keys.describe(arn)).arn == arn


@pytest.mark.parametrize(
    "name", ["alias/aws/rds", "7f6b", "arn:aws:rds:us-east-1:1:cluster:x", "arn:aws:kms"]
)
async def test_what_is_no_arn_of_a_key_is_refused(name: str, tmp_path: pathlib.Path) -> None:
    keys = EveryAccount(lambda scope: LocalKeyring(tmp_path, scope.account, scope.region))
    with pytest.raises(KMSKeyNotAccessibleFault, match="no key's ARN"):
        await keys.describe(name)
