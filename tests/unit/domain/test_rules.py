"""Names, tags, windows, engine rules and the transition table: AWS's constraints and messages."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stilldb.domain import engine, names, tags, transitions, windows
from stilldb.domain.faults import InvalidParameterCombination, InvalidParameterValue
from stilldb.domain.names import Deployment
from stilldb.domain.resources import ClusterStatus, InstanceStatus, SnapshotStatus

HERE = Deployment("123456789012", "us-east-1")


@pytest.mark.parametrize("name", ["a", "A-b-9", "x" * 63, "my-cluster-snapshot1"])
def test_identifiers_are_stored_in_lower_case(name: str) -> None:
    assert names.snapshot_identifier(name, "P") == name.lower()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "must be provided and must not be blank"),
        ("  ", "must be provided and must not be blank"),
        ("1abc", "Invalid snapshot identifier:  1abc"),
        ("-abc", "Invalid snapshot identifier:  -abc"),
        ("éa", "Invalid snapshot identifier:  éa"),
        ("a--b", "is not a valid identifier"),
        ("a-", "is not a valid identifier"),
        ("a_b", "is not a valid identifier"),
        ("a b", "is not a valid identifier"),
        ("a\n", "is not a valid identifier"),
        ("aé", "is not a valid identifier"),
        ("rds:a", "is not a valid identifier"),
        ("a" * 64, "longer than 63 characters"),
    ],
)
def test_bad_snapshot_identifiers(name: str, message: str) -> None:
    with pytest.raises(InvalidParameterValue, match=message):
        names.snapshot_identifier(name, "DBClusterSnapshotIdentifier")


@given(st.text())
def test_an_identifier_is_accepted_or_faulted_never_anything_else(text: str) -> None:
    try:
        accepted = names.identifier(text, "P")
    except InvalidParameterValue:
        return
    assert 1 <= len(accepted) <= 63
    assert accepted[0].isalpha()
    assert set(accepted) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert not accepted.endswith("-")
    assert "--" not in accepted


def test_references_take_names_and_arns_of_this_region() -> None:
    assert names.reference("Alpha", "P", "cluster", HERE) == "alpha"
    assert names.reference(HERE.arn("cluster", "alpha"), "P", "cluster", HERE) == "alpha"
    automated = "arn:aws:rds:us-east-1:123456789012:cluster-snapshot:rds:alpha-2026-01-01-03-04"
    assert names.reference(automated, "P", "cluster-snapshot", HERE) == "rds:alpha-2026-01-01-03-04"
    with pytest.raises(
        InvalidParameterValue, match=r"^Invalid database cluster identifier:  arn:aws:rds:eu-west-1"
    ):
        names.reference("arn:aws:rds:eu-west-1:123456789012:cluster:alpha", "P", "cluster", HERE)
    with pytest.raises(InvalidParameterValue, match="Expected region = us-east-1, actual region = eu-west-1"):
        names.reference(
            "arn:aws:rds:eu-west-1:123456789012:cluster-snapshot:a", "P", "cluster-snapshot", HERE
        )
    foreign = "arn:aws:rds:us-east-1:999999999999:cluster:alpha"
    assert names.reference(foreign, "P", "cluster", HERE) == foreign  # names nothing here
    with pytest.raises(InvalidParameterValue, match="Invalid resource name"):
        names.reference("arn:aws:rds:us-east-1", "P", "cluster", HERE)


def test_resource_ids_look_like_aws() -> None:
    made = {names.new_resource_id("cluster") for _ in range(50)}
    assert len(made) == 50
    for name in made:
        assert len(name) == len("cluster-") + 26
        assert name[-1] in "AEIMQUY4"


@pytest.mark.parametrize("key", ["a", "k" * 128, "team name", "Größe", "日本", "_.:/=+-", "AWs"])
def test_good_tags(key: str) -> None:
    assert tags.validated([{"Key": key, "Value": "v" * 256}, {"Key": "empty"}]) == {
        key: "v" * 256,
        "empty": "",
    }


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("", "v", "1 to 128"),
        ("k" * 129, "v", "longer than 128"),
        ("k", "v" * 257, "longer than 256"),
        ("aws:x", "v", 'reserved prefix "aws:"'),
        ("AWS:x", "v", 'reserved prefix "aws:"'),
        ("rds:x", "v", 'reserved prefix "rds:"'),
        ("k", "aws:v", 'reserved prefix "aws:"'),
        ("a\tb", "v", "not allowed"),
        ("k", "<b>", "not allowed"),
        ("k", "a@b", "not allowed"),
        ("k", "\u0000", "not allowed"),
    ],
)
def test_bad_tags(key: str, value: str, message: str) -> None:
    with pytest.raises(InvalidParameterValue, match=message):
        tags.validated([{"Key": key, "Value": value}])


def test_fifty_tags_and_the_last_of_a_double_key() -> None:
    assert tags.validated([{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]) == {"a": "2"}
    tags.validated([{"Key": f"k{n}"} for n in range(50)])
    with pytest.raises(InvalidParameterValue, match="more than 50 tags"):
        tags.validated([{"Key": f"k{n}"} for n in range(51)])


@given(st.integers(), st.sampled_from(["us-east-1", "eu-west-3", "eu-central-1", "sa-east-1", "xx-test-1"]))
def test_default_windows_are_valid_and_apart(seed: int, region: str) -> None:
    chance = random.Random(seed)
    backup = windows.default_backup_window(region, chance)
    maintenance = windows.default_maintenance_window(region, backup, chance)
    assert windows.maintenance_window(maintenance) == maintenance
    assert not windows.overlap(backup, maintenance)


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ("sun:03:00", "Invalid maintenance window format"),
        ("son:03:00-son:04:00", "Invalid day:hour:minute"),
        ("sun:25:00-sun:26:00", "Invalid day:hour:minute"),
        ("sun:03:00-sun:03:29", "at least 30 minutes"),
        ("sun:03:00-mon:03:00", "less than 24 hours"),
    ],
)
def test_bad_maintenance_windows(window: str, message: str) -> None:
    with pytest.raises(InvalidParameterValue, match=message):
        windows.maintenance_window(window)


def test_windows_are_lower_case_and_overlap_across_midnight_and_week_end() -> None:
    assert windows.maintenance_window("Sat:23:30-Sun:00:30") == "sat:23:30-sun:00:30"
    assert windows.overlap("00:00-00:30", "sat:23:30-sun:00:30")
    assert windows.overlap("23:45-00:15", "sun:00:00-sun:00:30")
    assert not windows.overlap("00:30-01:00", "sat:23:30-sun:00:30")


def test_engine_rules() -> None:
    assert engine.engine_version("5.0") == "5.0.0"
    with pytest.raises(InvalidParameterValue, match=r"Cannot find version 6\.0 for docdb"):
        engine.engine_version("6.0")
    with pytest.raises(InvalidParameterValue, match="Invalid DB engine"):
        engine.engine("aurora")
    with pytest.raises(InvalidParameterCombination, match=r"DBInstanceClass=db\.r5\.large"):
        engine.instance_class("db.r5.large", "8.0.0")
    with pytest.raises(InvalidParameterCombination, match="DBInstanceClass=huge"):
        engine.instance_class("huge", "5.0.0")
    for port in (1149, 65536):
        with pytest.raises(InvalidParameterValue, match="1150 to 65535"):
            engine.port(port)


@pytest.mark.parametrize("name", ["admin", "Root", "1a", "a-b", "x" * 64, "é"])
def test_bad_master_names(name: str) -> None:
    with pytest.raises(InvalidParameterValue, match="MasterUsername"):
        engine.master_username(name)


@pytest.mark.parametrize(
    "password",
    [None, "", "short", "x" * 101, "has space ok", 'quote"quote', "at@at@at@", "a/b/c/d/e", "pässword"],
)
def test_bad_master_passwords(password: str | None) -> None:
    with pytest.raises(InvalidParameterValue, match="MasterUserPassword"):
        engine.master_password(password)


def test_every_status_can_be_reached_and_left() -> None:
    for kind, words in (
        ("cluster", ClusterStatus),
        ("instance", InstanceStatus),
        ("snapshot", SnapshotStatus),
    ):
        rows = [(status, target) for (of, status, _), target in transitions.TABLE.items() if of == kind]
        assert {status for status, _ in rows} == {str(word) for word in words}
        assert {target for _, target in rows} - {transitions.GONE} | set(transitions.FIRST[kind]) == {
            str(word) for word in words
        }


def test_an_undeclared_move_is_one_typed_error() -> None:
    assert transitions.after(SnapshotStatus.CREATING, "published") is SnapshotStatus.AVAILABLE
    with pytest.raises(
        transitions.UndeclaredTransition, match="snapshot in status failed has no transition for 'published'"
    ):
        transitions.after(SnapshotStatus.FAILED, "published")
    with pytest.raises(transitions.UndeclaredTransition):
        transitions.after(SnapshotStatus.DELETING, "deleted")  # ends the row, leads to no status
    with pytest.raises(transitions.UndeclaredTransition):
        transitions.require_gone(ClusterStatus.AVAILABLE, "delete")
    transitions.require_gone(ClusterStatus.DELETING, "deleted")
