"""Typed faults of the management plane: what a caller is told, with AWS's wire code and HTTP status.

Source of codes: the ``docdb`` service model of botocore; of messages: recorded AWS answers. An exception that is not a
Fault never reaches a caller as anything but InternalFailure.
"""

from __future__ import annotations


class Fault(Exception):
    """An error that the caller is told: ``code`` is the wire code, ``status`` the HTTP status."""

    code = "InternalFailure"
    status = 400

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidParameterValue(Fault):
    """A value that the operation does not take."""

    code = "InvalidParameterValue"


class InvalidParameterCombination(Fault):
    """Parameters that exclude each other, or that can't have their effect here."""

    code = "InvalidParameterCombination"


class MissingParameter(Fault):
    """A required parameter is absent."""

    code = "MissingParameter"

    @classmethod
    def named(cls, name: str) -> MissingParameter:
        """The fault for the absent parameter ``name``."""
        return cls(f"The request must contain the parameter {name}")


class OperationNotImplemented(Fault):
    """An operation of the service model that StillDB does not have yet."""

    code = "NotImplemented"
    status = 501


class ServiceUnavailable(Fault):
    """Something that the request needs does not answer now."""

    code = "ServiceUnavailable"
    status = 503


class DBClusterNotFoundFault(Fault):
    """No such cluster."""

    code = "DBClusterNotFoundFault"
    status = 404


class DBClusterAlreadyExistsFault(Fault):
    """The cluster identifier is taken."""

    code = "DBClusterAlreadyExistsFault"


class DBClusterQuotaExceededFault(Fault):
    """Too many clusters."""

    code = "DBClusterQuotaExceededFault"
    status = 403


class InvalidDBClusterStateFault(Fault):
    """The cluster's status does not allow the operation."""

    code = "InvalidDBClusterStateFault"


class DBClusterSnapshotNotFoundFault(Fault):
    """No such cluster snapshot."""

    code = "DBClusterSnapshotNotFoundFault"
    status = 404


class DBClusterSnapshotAlreadyExistsFault(Fault):
    """The snapshot identifier is taken."""

    code = "DBClusterSnapshotAlreadyExistsFault"


class InvalidDBClusterSnapshotStateFault(Fault):
    """The snapshot's status or type does not allow the operation."""

    code = "InvalidDBClusterSnapshotStateFault"


class SnapshotQuotaExceeded(Fault):
    """Too many manual snapshots."""

    code = "SnapshotQuotaExceeded"


class SharedSnapshotQuotaExceeded(Fault):
    """A snapshot is shared with too many accounts."""

    code = "SharedSnapshotQuotaExceeded"


class InvalidRestoreFault(Fault):
    """There is nothing to restore from."""

    code = "InvalidRestoreFault"


class DBInstanceNotFound(Fault):
    """No such instance."""

    code = "DBInstanceNotFound"
    status = 404


class DBInstanceAlreadyExists(Fault):
    """The instance identifier is taken."""

    code = "DBInstanceAlreadyExists"


class InstanceQuotaExceeded(Fault):
    """Too many instances."""

    code = "InstanceQuotaExceeded"


class InsufficientDBInstanceCapacity(Fault):
    """This deployment can't place another instance."""

    code = "InsufficientDBInstanceCapacity"


class InvalidDBInstanceState(Fault):
    """The instance's status does not allow the operation."""

    code = "InvalidDBInstanceState"


class DBSubnetGroupNotFoundFault(Fault):
    """No such subnet group."""

    code = "DBSubnetGroupNotFoundFault"
    status = 404


class DBClusterParameterGroupNotFound(Fault):
    """No such cluster parameter group."""

    code = "DBClusterParameterGroupNotFound"
    status = 404


class GlobalClusterNotFoundFault(Fault):
    """No such global cluster."""

    code = "GlobalClusterNotFoundFault"
    status = 404


class InvalidVPCNetworkStateFault(Fault):
    """A network setting that this deployment does not have."""

    code = "InvalidVPCNetworkStateFault"


class NetworkTypeNotSupported(Fault):
    """A network type that this deployment does not have."""

    code = "NetworkTypeNotSupported"


class KMSKeyNotAccessibleFault(Fault):
    """The key is absent or closed."""

    code = "KMSKeyNotAccessibleFault"


class CertificateNotFound(Fault):
    """No such certificate authority."""

    code = "CertificateNotFound"
    status = 404
