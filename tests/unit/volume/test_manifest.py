"""Manifests: they come back as they were, anything else is refused, and the right base backup is chosen."""

from __future__ import annotations

import dataclasses
import datetime
import json
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stilldb.domain.volumes import VolumeError
from stilldb.postgres import lsn
from stilldb.volume.manifest import (
    ArchiveRecord,
    Base,
    Gap,
    WrappedKey,
    choose_base,
    dump_base,
    dump_manifest,
    dump_record,
    load_base,
    load_manifest,
    load_record,
)
from support.manifests import MOMENT, base, manifest, point

FORMAT_1 = pathlib.Path(__file__).with_name("format1")

WRITTEN = dump_manifest(manifest(base("b", 1), at=3))


def test_what_was_written_is_read() -> None:
    assert load_manifest(WRITTEN) == manifest(base("b", 1), at=3)
    assert load_base(dump_base(base("b", 1))) == base("b", 1)
    keys = (WrappedKey("arn:aws:kms:eu-west-1:123456789012:key/k", "id", "AAAA"),)
    chained = dataclasses.replace(
        manifest(base("b", 1), base("c", 2, parent="b"), at=3), keys=keys, tail=True
    )
    assert load_manifest(dump_manifest(chained)) == chained


@pytest.mark.parametrize(
    "record",
    [
        ArchiveRecord(),
        ArchiveRecord(
            keys=(WrappedKey("arn", "id", "AAAA"),),
            gaps=(Gap(MOMENT, MOMENT + datetime.timedelta(hours=1)), Gap(MOMENT, None)),
            closed_at=MOMENT,
            retain_until=MOMENT,
        ),
    ],
)
def test_a_record_is_read_as_it_was_written(record: ArchiveRecord) -> None:
    assert load_record(dump_record(record)) == record


def test_version_1_is_read() -> None:
    expected = Base(
        base_id="20260301T120000-0a1b2c3d",
        form="directory",
        parent=None,
        timeline=1,
        system_identifier=7400000000000000001,
        start_lsn=0x2000028,
        end_lsn=0x2000120,
        size=31457280,
        stored=31457280,
        parts=0,
        started_at="2026-03-01T12:00:01.250000+00:00",
        finished_at="2026-03-01T12:00:01.250000+00:00",
        data_key_id=None,
    )
    assert load_base((FORMAT_1 / "base.json").read_bytes()) == expected
    read = load_manifest((FORMAT_1 / "manifest.json").read_bytes())
    assert read.chain == (expected,)
    assert (read.snapshot_id, read.volume.prefix, read.point.lsn) == ("5f0c", "cluster-GOLDEN/1", 0x4000100)
    assert (read.tail, read.keys, read.attributes) == (False, (), {"port": 27017})


@pytest.mark.parametrize("lacking", ["chain", "keys", "point", "tail", "volume"])
def test_a_sealed_manifest_that_lacks_a_member(lacking: str) -> None:
    body = {name: value for name, value in json.loads(WRITTEN)["body"].items() if name != lacking}
    with pytest.raises(VolumeError, match="lacks what it must have"):
        load_manifest(sealed(body))
    with pytest.raises(VolumeError, match="lacks what it must have"):
        load_manifest(sealed({**body, lacking: [] if lacking == "chain" else None, "more": 1}))


def sealed(body: dict[str, object]) -> bytes:
    from stilldb.volume.manifest import _seal

    return _seal("snapshot manifest", body)


@given(st.integers(0, len(WRITTEN) - 1), st.integers(1, 255))
def test_any_changed_byte_is_found(place: int, change: int) -> None:
    damaged = bytearray(WRITTEN)
    damaged[place] ^= change
    try:
        read = load_manifest(bytes(damaged))
    except VolumeError:
        return
    assert read == load_manifest(WRITTEN), "white space may change, nothing else"


@given(st.integers(0, len(WRITTEN) - 2))
def test_a_cut_manifest_is_found(length: int) -> None:
    with pytest.raises(VolumeError):
        load_manifest(WRITTEN[:length])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged"),
        (b"\xff", "is damaged"),
        (b"[]", "other members"),
        (b"null", "other members"),
        (dump_base(base("b", 1)), "says it is a 'base backup'"),
        (json.dumps({**json.loads(WRITTEN), "version": 3}).encode(), "version 3 is not known"),
        (json.dumps({**json.loads(WRITTEN), "sha256": "0"}).encode(), "checksum does not match"),
    ],
)
def test_what_is_no_manifest(content: bytes, message: str) -> None:
    with pytest.raises(VolumeError, match=message):
        load_manifest(content)


def test_the_newest_base_that_ended_before_the_point() -> None:
    one, two, three = base("1", 1), base("2", 3), base("3", 5)
    assert choose_base([three, one, two], point(4)) == two
    assert choose_base([one, two, three], point(9)) == three
    assert choose_base([two, three], point(1)) is None
    # A point during a base backup belongs to the one before: recovery could not stop inside it.
    assert choose_base([one, two], point(3, offset=500)) == one
    assert choose_base([one], point(4, timeline=2)) is None
    assert choose_base([one], point(4, system=8)) is None


def test_the_segments_from_the_base_to_the_point() -> None:
    assert list(manifest(base("b", 1), at=3).segments) == [1, 2, 3]
    assert list(manifest(base("b", 3), at=3).segments) == [3]


def test_positions_and_segment_names() -> None:
    assert lsn.parse("16/B3748A0") == (0x16 << 32) + 0xB3748A0
    assert lsn.text(lsn.parse("16/B3748A0")) == "16/B3748A0"
    with pytest.raises(ValueError, match="not an LSN"):
        lsn.parse("16B3748A0")
    assert lsn.segment_name(1, 256) == "000000010000000100000000"
    assert lsn.parse_segment("000000020000000100000003.partial") == (2, 259)
    for other in (
        "00000002.history",
        "000000010000000100000000.00000028.backup",
        "x",
        "00000001000000010000000g",
    ):
        assert lsn.parse_segment(other) is None
    assert lsn.history_name(26) == "0000001A.history"


@given(st.integers(0, (1 << 63) - 1))
def test_every_position_has_its_segment(position: int) -> None:
    name = lsn.segment_name(1, lsn.segment_number(position))
    assert lsn.parse_segment(name) == (1, lsn.segment_number(position))
