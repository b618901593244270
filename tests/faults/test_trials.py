"""Trial restores that are broken off: by a kill at each step, by a closed key. The next start removes what they left, and they work again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from support.service import Service, service, wait_until

UNREACHABLE = 3  # the exit code of a command that no service answers


@pytest.fixture
def house() -> Iterator[Service]:
    with service() as it:
        made = it.command("keyring", "create", "--alias", "alias/mine", "--json")
        it.create_cluster("alpha", StorageEncrypted=True, KmsKeyId=json.loads(made.stdout)["arn"])
        it.client().create_db_instance(
            DBInstanceIdentifier="one",
            DBClusterIdentifier="alpha",
            Engine="docdb",
            DBInstanceClass="db.t3.medium",
        )
        it.instance("one", "available")
        it.create_snapshot("first")
        yield it


def left(house: Service) -> list[str]:
    """What there is of throw-away servers."""
    places = [str(path) for path in (house.state / "scratch").iterdir() if path.name != "imports"]
    return [*places, *house.processes("/scratch/").values()]


def prove(house: Service) -> subprocess.CompletedProcess[str]:
    return house.command("snapshots", "prove", "first", "--json")


@pytest.mark.parametrize("point", ["restore.copied", "restore.placed", "PostgreSQL runs"])
def test_a_service_that_is_killed_in_the_middle_of_a_trial(house: Service, point: str) -> None:
    if point.startswith("restore"):
        house.stop()
        house.start(failpoints=f"{point}=exit")
        house.instance("one", "available")
        assert prove(house).returncode == UNREACHABLE
        assert house.died() == 137
    else:
        command = [*house.process.args[:3], "snapshots", "prove", "first", "--state-dir", str(house.state)]  # type: ignore[union-attr,index]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as proving:
            wait_until(lambda: house.processes("/scratch/trial-"), "the throw-away PostgreSQL runs")
            house.kill()
            assert proving.wait(60) == UNREACHABLE
    assert left(house)
    house.start()
    wait_until(lambda: not left(house), "what the killed service left is removed")
    house.cluster("alpha", "available")
    house.instance("one", "available")
    assert json.loads(prove(house).stdout)["ok"]
    assert left(house) == []


def test_a_closed_key_is_no_failure_of_the_snapshot(house: Service) -> None:
    assert json.loads(prove(house).stdout)["ok"]
    assert house.command("keyring", "disable", "alias/mine").returncode == 0
    for command in ("prove", "browse"):
        refused = house.command("snapshots", command, "first")
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr
        assert "disabled" in refused.stderr
    (listed,) = json.loads(house.command("snapshots", "list", "--json").stdout)
    assert listed["LastProof"]["ok"], "the last proof stays"
    assert left(house) == []
    assert house.command("keyring", "enable", "alias/mine").returncode == 0
    assert json.loads(prove(house).stdout)["ok"]
