"""A volume of another format, or whose description is damaged, is refused and left alone."""

from __future__ import annotations

import json

import pytest

from stilldb.domain.volumes import VolumeError
from stilldb.volume.layout import FORMAT
from support.volumes import KEY, state_directory, volumes


async def test_only_the_known_format_is_held() -> None:
    with state_directory() as state:
        async with volumes(state) as opened:
            await opened.create(KEY, kms_key_arn=None)
            path = state / "volumes" / KEY.resource_id / str(KEY.incarnation) / "volume.json"
            good = path.read_text()
            assert json.loads(good)["format"] == FORMAT
            for content, words in (
                (
                    json.dumps({"format": FORMAT + 1}),
                    f"format {FORMAT + 1}; this StillDB reads format {FORMAT}",
                ),
                ("{", "is damaged"),
                ("{}", "is damaged"),
            ):
                path.write_text(content)
                with pytest.raises(VolumeError, match=words):
                    await opened.hold(KEY, "test")
            path.write_text(good)
            await opened.hold(KEY, "test")
