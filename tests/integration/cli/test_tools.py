"""Every tool around snapshots, as a command against a real service with real data."""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import bson
import pymongo
import pymongo.errors
import pytest

from support.service import PASSWORD, Service, service, wait_until
from support.tools import done, refused, run

ROWS = [{"_id": number, "name": f"place {number}", "x": "y" * (number % 200)} for number in range(3_000)]


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    """Cluster alpha with an instance; snapshots first and second, between which documents changed."""
    with service() as made:
        made.create_cluster()
        made.create_instance("one")
        with made.mongo() as writer:
            writer.atlas.places.insert_many(ROWS)
            writer.atlas.places.create_index("name")
            writer.atlas.kept.insert_one({"_id": "a"})
            made.create_snapshot("first")
            writer.atlas.places.delete_many({"_id": {"$gte": 2_990}})
            writer.atlas.places.update_one({"_id": 7}, {"$set": {"x": "changed"}})
            writer.books.titles.insert_one({"_id": bson.ObjectId("65" * 12)})
            made.create_snapshot("second")
            writer.atlas.places.drop()
        yield made


def nothing_left(running: Service) -> None:
    """No throw-away server and no data of one."""
    wait_until(lambda: not running.processes("/scratch/"), "throw-away servers end")
    assert [path.name for path in (running.state / "scratch").iterdir() if path.name != "imports"] == []


# -- prove


def test_a_snapshot_is_proven_and_listed_so(running: Service) -> None:
    assert "never" in run(running, "snapshots", "list").stdout
    proof = done(running, "snapshots", "prove", "first")
    assert proof["ok"]
    assert proof["documents"] == {"atlas.kept": 1, "atlas.places": 3_000}
    told = run(running, "snapshots", "prove", "second")
    assert told.returncode == 0
    assert "proven: second restores, 2992 documents" in told.stdout
    listed = {row["DBClusterSnapshotIdentifier"]: row for row in done(running, "snapshots", "list")}
    assert listed["first"]["LastProof"]["documents"] == proof["documents"]
    assert "just now" in run(running, "snapshots", "list").stdout
    nothing_left(running)


def test_a_snapshot_that_is_not_there(running: Service) -> None:
    for command in (["prove", "x"], ["browse", "x"], ["diff", "x", "first"], ["diff", "first", "x"]):
        assert "DBClusterSnapshot not found: x" in refused(running, "snapshots", *command)
    nothing_left(running)


# -- look


def test_a_snapshot_is_browsed_until_ctrl_c(running: Service) -> None:
    command = [sys.executable, "-m", "stilldb.cli.main", "snapshots", "browse", "first", "--json"]
    with subprocess.Popen(
        [*command, "--state-dir", str(running.state)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.stderr and process.stderr.read()
        told = json.loads(line)
        with pymongo.MongoClient(told["connectionString"]) as reader:
            assert reader.atlas.places.count_documents({}) == 3_000
            assert list(reader.atlas.places.find().sort("_id", 1)) == ROWS
            with pytest.raises(pymongo.errors.NotPrimaryError):
                reader.atlas.places.insert_one({"_id": -1})
        # The snapshot's own user, with the password of that time.
        with pymongo.MongoClient(
            told["address"],
            told["port"],
            username="keeper",
            password=PASSWORD,
            tls=True,
            tlsCAFile=str(running.state / "tls" / "ca-bundle.pem"),
            directConnection=True,
        ) as reader:
            assert reader.atlas.kept.find_one() == {"_id": "a"}
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, process.stderr and process.stderr.read()
    nothing_left(running)


def test_a_look_ends_with_a_service_that_is_killed(running: Service) -> None:
    command = [sys.executable, "-m", "stilldb.cli.main", "snapshots", "browse", "first", "--json"]
    with subprocess.Popen(
        [*command, "--state-dir", str(running.state)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        running.kill()
        running.start()
        nothing_left(running)
        assert not running.processes("look-"), "its gateway is gone too"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    running.cluster("alpha", "available")
    running.instance("one", "available")


# -- differences


def test_two_snapshots_differ_by_what_was_done_between_them(running: Service) -> None:
    found = done(running, "snapshots", "diff", "first", "second", "--examples", "2")
    assert found["unchanged"] == 1
    places, titles = found["collections"]
    assert (places["namespace"], places["state"]) == ("atlas.places", "changed")
    assert places["documents"] == {"added": 0, "removed": 10, "changed": 1, "unchanged": 2_989}
    assert places["examples"] == {"added": [], "removed": [2_990, 2_991], "changed": [7]}
    assert (titles["namespace"], titles["state"]) == ("books.titles", "added")
    text = run(running, "snapshots", "diff", "first", "second").stdout
    assert "atlas.places removed: 2990, 2991" in text
    nothing_left(running)


def test_a_running_cluster_can_be_the_other_side(running: Service) -> None:
    found = done(running, "snapshots", "diff", "second", "cluster:alpha")
    assert [
        (one["namespace"], one["state"]) for one in found["collections"] if one["namespace"] == "atlas.places"
    ] == [("atlas.places", "removed")]
    assert "not found" in refused(running, "snapshots", "diff", "second", "cluster:beta")


# -- one collection


def test_a_collection_comes_back_into_the_cluster(running: Service) -> None:
    into = ["--collection", "atlas.places", "--into", "alpha/back.places"]
    made = done(running, "snapshots", "extract", "first", *into, STILLDB_PASSWORD=PASSWORD)
    assert made["documents"] == 3_000
    with running.mongo() as writer:
        assert list(writer.back.places.find().sort("_id", 1)) == ROWS
        assert "name_1" in writer.back.places.index_information()
        assert "is there already" in refused(
            running, "snapshots", "extract", "first", *into, STILLDB_PASSWORD=PASSWORD
        )
        again = done(running, "snapshots", "extract", "first", *into, "--append", STILLDB_PASSWORD=PASSWORD)
        assert again["present"] == 3_000
        writer.back.places.drop()
    assert "Authentication failed" in refused(
        running, "snapshots", "extract", "first", *into, STILLDB_PASSWORD="wrong"
    )
    missing = ["--collection", "atlas.plases", "--into", "alpha/back.x"]
    assert "no collection atlas.plases; in atlas it has kept, places" in refused(
        running, "snapshots", "extract", "first", *missing, STILLDB_PASSWORD=PASSWORD
    )
    assert "database.collection" in refused(
        running, "snapshots", "extract", "first", "--collection", "atlas", "--into", "alpha/x.y", code=2
    )
    nothing_left(running)


# -- exports


def test_an_export_is_checked_by_sha256sum_and_comes_back(running: Service, tmp_path: pathlib.Path) -> None:
    parcel = tmp_path / "parcel"
    done(running, "snapshots", "export", "first", str(parcel))
    subprocess.run(["sha256sum", "--strict", "--quiet", "-c", "SHA256SUMS"], cwd=parcel, check=True)
    with service() as other:
        made = done(other, "snapshots", "import", str(parcel), "--as", "arrived")
        assert made == {"snapshot": "arrived"}
        told = other.snapshot("arrived", "available")
        assert told["SourceDBClusterSnapshotArn"].endswith(":cluster-snapshot:first")
        assert told["DBClusterIdentifier"] == "alpha"
        assert done(other, "snapshots", "prove", "arrived")["documents"] == {
            "atlas.kept": 1,
            "atlas.places": 3_000,
        }
        other.restore("again", "arrived")
        other.delete_cluster("again")
        assert "already exists" in refused(other, "snapshots", "import", str(parcel), "--as", "arrived")
        other.client().delete_db_cluster_snapshot(DBClusterSnapshotIdentifier="arrived")
        other.snapshot("arrived", None)
        wait_until(
            lambda: not [p for p in (other.state / "archive").rglob("*") if p.is_file()], "all of it goes"
        )
    victim = max((path for path in parcel.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = victim.read_bytes()
    victim.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "is not what was written" in refused(running, "snapshots", "import", str(parcel), "--as", "broken")
    assert "exists already" in refused(running, "snapshots", "export", "first", str(parcel))


def test_a_dump_is_written_from_a_snapshot(running: Service, tmp_path: pathlib.Path) -> None:
    made = done(running, "snapshots", "export", "first", str(tmp_path / "dump"), "--format", "mongodump")
    assert (made["collections"], made["documents"]) == (2, 3_001)
    with (tmp_path / "dump" / "atlas" / "places.bson").open("rb") as file:
        assert list(bson.decode_file_iter(file)) == ROWS
    nothing_left(running)


# -- backups and keys


def test_the_archive_is_told_with_reasons(running: Service) -> None:
    (one,) = [one for one in done(running, "backups", "list") if one["cluster"] == "alpha"]
    assert one["state"] == "live"
    assert one["snapshots"] == ["first", "second"]
    verdicts = done(running, "backups", "expire", "--cluster", "alpha", "--dry-run")
    assert {"base", "snapshot"} <= {verdict["kind"] for verdict in verdicts}
    assert all(verdict["reason"] for verdict in verdicts)
    assert "0 objects would be deleted" in run(running, "backups", "expire", "--dry-run").stdout
    assert "--dry-run" in refused(running, "backups", "expire", code=2)
    assert "no backups of gamma" in refused(running, "backups", "check", "--cluster", "gamma")
    assert "No backup of a deleted cluster alpha" in refused(running, "backups", "purge", "alpha", "--yes")


def test_retained_backups_are_listed_and_purged(running: Service) -> None:
    running.create_cluster("beta")
    running.create_snapshot("kept", "beta")
    running.delete_cluster("beta")
    (one,) = [one for one in done(running, "backups", "list") if one["cluster"] == "beta"]
    assert (one["state"], one["snapshots"]) == ("retained", ["kept"])
    assert one["earliest"] <= one["latest"]
    asked = run(running, "backups", "purge", "beta")
    assert asked.returncode == 1, "without a yes nothing is dropped"
    assert done(running, "backups", "purge", "beta", "--yes")["cluster"] == "beta"
    (one,) = [one for one in done(running, "backups", "list") if one["cluster"] == "beta"]
    assert (one["state"], one["snapshots"]) == ("snapshots only", ["kept"])
    assert done(running, "snapshots", "prove", "kept")["ok"], "its manual snapshots stay"
    running.client().delete_db_cluster_snapshot(DBClusterSnapshotIdentifier="kept")
    running.snapshot("kept", None)
    assert [one for one in done(running, "backups", "list") if one["cluster"] == "beta"] == []
    assert all(verdict["keep"] for verdict in done(running, "backups", "expire", "--now"))


def test_damage_is_found_by_a_check_and_by_a_proof(running: Service) -> None:
    assert done(running, "backups", "check", "--deep")["problems"] == []
    with running.mongo() as writer:
        writer.spoiled.things.insert_one({"_id": 1})
    running.create_snapshot("spoiled")
    (cluster,) = running.client().describe_db_clusters(DBClusterIdentifier="alpha")["DBClusters"]
    victim = next(iter(sorted(running.archive(cluster).glob("base/*/000000"))))
    good = victim.read_bytes()
    mode = victim.stat().st_mode
    try:
        victim.chmod(0o600)
        victim.write_bytes(good[:500] + bytes([good[500] ^ 1]) + good[501:])
        found = run(running, "backups", "check", "--deep", "--cluster", "alpha", "--json")
        assert found.returncode == 1
        assert any(victim.name in problem["name"] for problem in json.loads(found.stdout)["problems"])
        running.expected_errors.append("snapshot does not restore")
        told = refused(running, "snapshots", "prove", "spoiled")
        assert "spoiled does not restore" in told
        assert "damaged" in told
        assert "FAILED" in run(running, "snapshots", "list").stdout
    finally:
        victim.write_bytes(good)
        victim.chmod(mode)
    assert done(running, "snapshots", "prove", "spoiled")["ok"]
    nothing_left(running)


def test_the_key_ring(running: Service) -> None:
    made = done(running, "keyring", "create", "--alias", "alias/mine")
    assert made["enabled"]
    assert not done(running, "keyring", "disable", "alias/mine")["enabled"]
    assert made["arn"] in {key["arn"] for key in done(running, "keyring", "list")}
    assert "disabled" in run(running, "keyring", "list").stdout
    assert done(running, "keyring", "enable", made["arn"])["enabled"]
    assert "full ARN" in refused(running, "keyring", "delete", "alias/mine", "--confirm", "alias/mine")
    done(running, "keyring", "delete", "alias/mine", "--confirm", made["arn"])
    assert made["arn"] not in {key["arn"] for key in done(running, "keyring", "list")}


def test_nothing_serves(tmp_path: pathlib.Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "stilldb.cli.main", "snapshots", "list", "--state-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 3
    assert "Start it" in ended.stderr
