"""The names of objects: each is parsed back to what it names, and nothing else is taken for one."""

from __future__ import annotations

import pytest

from stilldb.domain.volumes import VolumeKey
from stilldb.volume.keys import ArchiveKeys, Kind, Parsed
from stilldb.volume.objects.store import check_key

KEYS = ArchiveKeys(VolumeKey("cluster-A", 2))
SEGMENT = "000000030000000100000002"


@pytest.mark.parametrize(
    ("key", "name", "parsed"),
    [
        (KEYS.record, "archive.json", Parsed(Kind.RECORD)),
        (KEYS.segment(3, 258), f"wal/{SEGMENT}", Parsed(Kind.SEGMENT, SEGMENT, 258, 3)),
        (KEYS.history(3), "wal/00000003.history", Parsed(Kind.HISTORY, "00000003.history", 0, 3)),
        (KEYS.base("b"), "base/b/base.json", Parsed(Kind.BASE, "b")),
        (KEYS.part("b", 7), "base/b/000007", Parsed(Kind.PART, "b", 7)),
        (KEYS.part("b", 1_234_567), "base/b/1234567", Parsed(Kind.PART, "b", 1_234_567)),
        (KEYS.backup_manifest("b"), "base/b/backup_manifest", Parsed(Kind.BACKUP_MANIFEST, "b")),
        (KEYS.plain_backup_manifest("b"), "base/b/data/backup_manifest", Parsed(Kind.PLAIN, "b")),
        (KEYS.manifest("s"), "snapshots/s/manifest.json", Parsed(Kind.MANIFEST, "s")),
        (KEYS.draft("s"), "snapshots/s/manifest.draft", Parsed(Kind.DRAFT, "s")),
        (KEYS.tail("s"), "snapshots/s/tail", Parsed(Kind.TAIL, "s")),
        (KEYS.proof("s"), "snapshots/s/proof.json", Parsed(Kind.PROOF, "s")),
    ],
)
def test_every_key_is_what_the_document_says_and_is_parsed_back(key: str, name: str, parsed: Parsed) -> None:
    assert check_key(key) == f"cluster-A/2/{name}"
    assert KEYS.parse(key) == parsed


def test_the_partial_segment_of_format_1() -> None:
    key = f"{KEYS.wal}{SEGMENT}.partial"
    assert KEYS.parse(key) == Parsed(Kind.SEGMENT, f"{SEGMENT}.partial", 258, 3)


@pytest.mark.parametrize(
    "name", ["x", "wal/x", "wal", "base/b/x.json", "snapshots/s/x", "snapshots/s/t/tail", "gaps", "base/b/0"]
)
def test_what_no_format_has(name: str) -> None:
    assert KEYS.parse(KEYS.root + name).kind is Kind.UNKNOWN
