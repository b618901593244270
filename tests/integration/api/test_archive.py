"""A real service whose archives are in an object store of its own choice."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support import s3
from support.service import Service, service, wait_until

SECOND = "eu-central-1"


def restored(it: Service) -> dict[str, Any]:
    it.create_cluster()
    it.create_snapshot("one")
    it.delete_cluster("alpha")
    return it.restore("beta", "one")


def test_archives_in_s3_each_region_below_its_name() -> None:
    with s3.aws_server() as endpoint:
        client, bucket = s3.client("s3", endpoint), s3.new_bucket(endpoint)
        archive = f"s3://{bucket}/still?region={s3.REGION}&endpoint={endpoint}&allow_http=true"
        with service("--also-region", SECOND, "--archive", archive, started=False) as it:
            credentials = {"AWS_ACCESS_KEY_ID": s3.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": s3.SECRET_KEY}
            it.start(**credentials)
            restored(it)
            it.client(region_name=SECOND).create_db_cluster(
                DBClusterIdentifier="there",
                Engine="docdb",
                MasterUsername="keeper",
                MasterUserPassword="long-enough!",
            )

            def stored() -> set[str]:
                found = client.list_objects_v2(Bucket=bucket).get("Contents", [])
                return {"/".join(one["Key"].split("/")[:2]) for one in found}

            wait_until(lambda: stored() == {"still/us-west-2", f"still/{SECOND}"}, "both regions archive")
            assert not any((it.state / "archive").glob("cluster-*"))

            it.stop()
            it.arguments = ["--also-region", SECOND]
            it.spawn()
            assert it.died() == 1
            assert f"serve it with --archive s3://{bucket}/still and its options" in it.log.read_text()


def test_archives_in_another_directory(tmp_path: pathlib.Path) -> None:
    with service("--archive", f"file://{tmp_path}/elsewhere") as it:
        restored(it)
        assert any((tmp_path / "elsewhere" / "us-west-2").glob("cluster-*"))
        assert not any((it.state / "archive").glob("cluster-*"))


def test_archives_that_are_in_the_state_directory_stay_there(tmp_path: pathlib.Path) -> None:
    with service() as it:
        it.create_cluster()
        it.stop()
        it.arguments = ["--archive", f"file://{tmp_path}/elsewhere"]
        it.spawn()
        assert it.died() == 1
        assert "serve it without --archive" in it.log.read_text()


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        ("memory://", "can't hold archives"),
        ("/var/lib/archive", "can't hold archives"),
        ("s3://x", "no name of a bucket"),
        ("s3://bucket/p?region=r&color=red", "no option 'color'"),
        ("s3://bucket/p?region=eu-west-1&endpoint=http://127.0.0.1:9&allow_http=true", "127.0.0.1"),
    ],
)
def test_a_store_that_is_none_or_does_not_answer_is_refused_at_its_first_use(
    archive: str, message: str
) -> None:
    with service("--archive", archive, started=False) as it:
        it.spawn(AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="y")
        assert it.process is not None
        assert it.process.wait(60) == 1
        assert message in it.log.read_text()


def test_keys_in_aws_kms_encrypt_and_close() -> None:
    with s3.aws_server() as endpoint:
        kms = s3.client("kms", endpoint)
        default, other = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
        arguments = ("--region", s3.REGION, "--kms", "aws", "--kms-default-key", default)
        with service(*arguments, started=False) as it:
            it.start(
                AWS_ENDPOINT_URL_KMS=endpoint,
                AWS_ACCESS_KEY_ID=s3.ACCESS_KEY,
                AWS_SECRET_ACCESS_KEY=s3.SECRET_KEY,
            )
            assert it.create_cluster("alpha", StorageEncrypted=True)["KmsKeyId"] == default
            assert it.create_cluster("beta", StorageEncrypted=True, KmsKeyId=other)["KmsKeyId"] == other
            it.create_snapshot("one", "beta")
            assert it.restore("gamma", "one")["KmsKeyId"] == other
            kms.disable_key(KeyId=other.rpartition("/")[2])  # moto takes no ARN here
            with pytest.raises(ClientError) as refused:
                it.restore("delta", "one")
            assert refused.value.response["Error"]["Code"] == "KMSKeyNotAccessibleFault"
            told = it.command("keyring", "list")
            assert told.returncode == 1
            assert "AWS KMS" in told.stderr


def test_a_default_key_is_for_aws_only() -> None:
    with service("--kms-default-key", "alias/x", started=False) as it:
        it.spawn()
        assert it.died() == 1
        assert "--kms-default-key is for --kms aws" in it.log.read_text()
