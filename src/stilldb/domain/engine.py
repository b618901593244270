"""What this release offers: engine versions, instance classes, quotas, and the rules of the master user. Pure data.

Source: Developer Guide (engine versions, instance classes, limits) and the API reference.
"""

from __future__ import annotations

import re

from stilldb.domain.faults import (
    DBClusterParameterGroupNotFound,
    InvalidParameterCombination,
    InvalidParameterValue,
)

ENGINE = "docdb"
DEFAULT_VERSION = "5.0.0"
VERSIONS = ("3.6.0", "4.0.0", "5.0.0", "8.0.0")
DEFAULT_PORT = 27017
PORTS = range(1150, 65536)
CA_CERTIFICATE = "rds-ca-rsa2048-g1"
STORAGE_TYPES = ("standard", "iopt1")
LICENSE_MODEL = "na"

CLUSTER_QUOTA = 40
INSTANCE_QUOTA = 40
MANUAL_SNAPSHOT_QUOTA = 100
COPIES_ACROSS_REGIONS = 5  # in progress at once
ACCOUNTS_SHARED_WITH = 20  # of one snapshot
BACKUP_RETENTION = range(1, 36)  # days

_SIZES = {
    "db.r8g": (
        "large",
        "xlarge",
        "2xlarge",
        "4xlarge",
        "8xlarge",
        "12xlarge",
        "16xlarge",
        "24xlarge",
        "48xlarge",
    ),
    "db.r6g": ("large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge"),
    "db.r5": ("large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge"),
    "db.r4": ("large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "16xlarge"),
    "db.t4g": ("medium",),
    "db.t3": ("medium",),
}
_FAMILY_VERSIONS = {
    "db.r8g": ("5.0.0", "8.0.0"),
    "db.r6g": ("4.0.0", "5.0.0", "8.0.0"),
    "db.r5": ("3.6.0", "4.0.0", "5.0.0"),
    "db.r4": ("3.6.0",),
    "db.t4g": ("4.0.0", "5.0.0", "8.0.0"),
    "db.t3": VERSIONS,
}
# Client connections by size (Developer Guide, instance limits).
_CONNECTIONS = {"medium": 1_000, "large": 3_400, "xlarge": 7_000, "2xlarge": 14_200, "4xlarge": 28_400}
_MOST_CONNECTIONS = 60_000

# The names MongoDB and PostgreSQL keep for themselves.
_RESERVED_USERS = frozenset({"admin", "root", "postgres", "rdsadmin", "serviceadmin", "stilldb", "system"})
_USER = re.compile(r"[A-Za-z][A-Za-z0-9]{0,62}", re.ASCII)


def engine(name: str) -> None:
    """Refuse every engine but docdb."""
    if name != ENGINE:
        raise InvalidParameterValue("Invalid DB engine")


def engine_of_cluster(name: str) -> None:
    """Refuse an instance of another engine than its cluster's, which is docdb."""
    if name != ENGINE:
        raise InvalidParameterCombination(
            f"The engine name requested for your DB instance ({name}) doesn't match the engine name of your DB cluster "
            f"({ENGINE})."
        )


def engine_version(version: str | None) -> str:
    """The full version for what was asked; ``5.0`` means ``5.0.0``."""
    if version is None:
        return DEFAULT_VERSION
    for known in VERSIONS:
        if version in {known, known.rsplit(".", 1)[0]}:
            return known
    raise InvalidParameterValue(f"Cannot find version {version} for {ENGINE}")


def family(version: str) -> str:
    """The parameter group family of a version."""
    return ENGINE + version.rsplit(".", 1)[0]


def default_parameter_group(version: str) -> str:
    """The name of the family's default cluster parameter group."""
    return f"default.{family(version)}"


def parameter_group(name: str | None, version: str) -> str:
    """The cluster parameter group for a version: so far there are only the families' default groups."""
    fitting = default_parameter_group(version)
    if name is None or name.lower() == fitting:
        return fitting
    if name.lower() not in {default_parameter_group(known) for known in VERSIONS}:
        raise DBClusterParameterGroupNotFound(f"DBClusterParameterGroup not found: {name}")
    raise InvalidParameterCombination(
        f"The Parameter Group {name} with DBParameterGroupFamily {name.lower().removeprefix('default.')} cannot be used "
        f"for this instance. Please use a Parameter Group with DBParameterGroupFamily {family(version)}"
    )


def instance_class(name: str, version: str) -> str:
    """Refuse a class that is not offered for the engine version."""
    prefix, _, size = name.rpartition(".")
    if size not in _SIZES.get(prefix, ()) or version not in _FAMILY_VERSIONS[prefix]:
        raise InvalidParameterCombination(
            "RDS does not support creating a DB instance with the following combination: "
            f"DBInstanceClass={name}, Engine={ENGINE}, EngineVersion={version}, LicenseModel={LICENSE_MODEL}. For supported "
            "combinations of instance class and database engine version, see the documentation."
        )
    return name


def max_connections(instance_class_name: str) -> int:
    """How many client connections an instance of this class takes."""
    return _CONNECTIONS.get(instance_class_name.rpartition(".")[2], _MOST_CONNECTIONS)


def port(value: int | None) -> int:
    """The cluster's port, 1150 to 65535."""
    if value is None:
        return DEFAULT_PORT
    if value not in PORTS:
        raise InvalidParameterValue(f"The port {value} is out of range. Use a port from 1150 to 65535.")
    return value


def storage_type(value: str | None, version: str) -> str | None:
    """``standard`` or ``iopt1``; iopt1 needs engine 5.0.0 or newer."""
    if value is not None and value not in STORAGE_TYPES:
        raise InvalidParameterValue(f"Invalid storage type: {value}. Valid values are standard and iopt1.")
    if value == "iopt1" and version < "5.0.0":
        raise InvalidParameterCombination(f"Storage type iopt1 is not supported by engine version {version}.")
    return value


def master_username(value: str | None) -> str:
    """1 to 63 letters and digits, first a letter, no reserved word."""
    if value is None or not value.strip():
        raise InvalidParameterValue("The parameter MasterUsername must be provided and must not be blank.")
    if not _USER.fullmatch(value):
        raise InvalidParameterValue(
            "The parameter MasterUsername is not valid. It must be 1 to 63 letters or digits and begin with a letter."
        )
    if value.lower() in _RESERVED_USERS:
        raise InvalidParameterValue(
            f"MasterUsername {value} cannot be used as it is a reserved word used by the engine"
        )
    return value


def master_password(value: str | None) -> str:
    """8 to 100 printable ASCII characters without slash, quote, at sign and space."""
    if value is None or not value.strip():
        raise InvalidParameterValue(
            "The parameter MasterUserPassword must be provided and must not be blank."
        )
    prefix = "The parameter MasterUserPassword is not a valid password"
    if len(value) < 8:
        raise InvalidParameterValue(f"{prefix} because it is shorter than 8 characters.")
    if len(value) > 100:
        raise InvalidParameterValue(f"{prefix} because it is longer than 100 characters.")
    if any(char in '/@" ' or not "!" <= char <= "~" for char in value):
        raise InvalidParameterValue(
            f"{prefix}. Only printable ASCII characters besides '/', '@', '\"', ' ' may be used."
        )
    return value


def backup_retention(days: int) -> int:
    """BackupRetentionPeriod, 1 to 35 days."""
    if days not in BACKUP_RETENTION:
        raise InvalidParameterValue(
            f"Invalid backup retention period: {days}. Must be between 1 and 35 days."
        )
    return days


def promotion_tier(value: int | None) -> int:
    """0 to 15, 1 when absent."""
    if value is None:
        return 1
    if not 0 <= value <= 15:
        raise InvalidParameterValue(f"Invalid PromotionTier {value}. Must be between 0 and 15.")
    return value
