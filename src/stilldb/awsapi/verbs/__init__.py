"""The admin verbs: what Amazon DocumentDB's API has no operation for. Importing this package fills ``admin.VERBS``."""

from stilldb.awsapi.admin import VERBS
from stilldb.awsapi.verbs import status, tools

__all__ = ["VERBS", "status", "tools"]
