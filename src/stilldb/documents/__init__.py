"""Documents in PostgreSQL: catalog, SQL, reads, writes, indexes."""

from stilldb.documents.database import Documents

__all__ = ["Documents"]
