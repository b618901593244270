"""The tools on encrypted snapshots: closed keys, passphrases; and what goes on without being asked."""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Iterator

import pytest

from support.service import Service, service, wait_until
from support.tools import done, refused

PASSPHRASE = {"STILLDB_EXPORT_PASSPHRASE": "correct horse battery"}


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    """Snapshot secret of an encrypted cluster, under the key alias/mine; trial restores go on by themselves."""
    with service("--prove-every", "24") as made:
        done(made, "keyring", "create", "--alias", "alias/mine")
        made.create_cluster("vault", StorageEncrypted=True, KmsKeyId="alias/mine")
        made.create_snapshot("secret", "vault")
        yield made


def test_a_new_snapshot_is_proven_without_being_asked(running: Service) -> None:
    def proven() -> bool:
        (row,) = done(running, "snapshots", "list")
        return bool(row["LastProof"] and row["LastProof"]["ok"])

    wait_until(proven, "the snapshot is proven", 60)
    messages = [
        event["Message"]
        for event in running.client().describe_events(
            SourceType="db-cluster-snapshot", SourceIdentifier="secret"
        )["Events"]
    ]
    assert any("proven by a trial restore" in message for message in messages)


def test_a_snapshot_that_was_never_served_can_not_be_browsed(running: Service) -> None:
    assert "its cluster never had an instance" in refused(running, "snapshots", "browse", "secret")


def test_a_closed_key_closes_the_snapshot(running: Service) -> None:
    done(running, "keyring", "disable", "alias/mine")
    try:
        for command in (["browse"], ["prove"], ["diff", "secret"]):
            assert "is not enabled" in refused(running, "snapshots", command[0], "secret", *command[1:])
        assert "is not enabled" in refused(
            running, "snapshots", "export", "secret", "/tmp/proof-none", **PASSPHRASE
        )
        assert not pathlib.Path("/tmp/proof-none").exists()
    finally:
        done(running, "keyring", "enable", "alias/mine")
    (row,) = done(running, "snapshots", "list")
    assert row["LastProof"]["ok"], "a closed key proves nothing"


def test_an_encrypted_snapshot_travels_under_a_passphrase(running: Service, tmp_path: pathlib.Path) -> None:
    parcel = tmp_path / "parcel"
    done(running, "snapshots", "export", "secret", str(parcel), **PASSPHRASE)
    subprocess.run(["sha256sum", "--strict", "--quiet", "-c", "SHA256SUMS"], cwd=parcel, check=True)
    with service() as other:
        wrong = {"STILLDB_EXPORT_PASSPHRASE": "some other passphrase"}
        assert "not the passphrase" in refused(other, "snapshots", "import", str(parcel), **wrong)
        assert done(other, "snapshots", "import", str(parcel), **PASSPHRASE) == {"snapshot": "secret"}
        told = other.snapshot("secret", "available")
        assert told["StorageEncrypted"]
        assert told["KmsKeyId"] in {key["arn"] for key in done(other, "keyring", "list")}
        assert done(other, "snapshots", "prove", "secret")["ok"]
    assert "12 characters" in refused(
        running, "snapshots", "export", "secret", str(tmp_path / "x"), STILLDB_EXPORT_PASSPHRASE="short"
    )
