"""Documents in PostgreSQL: catalog, SQL, reads, writes, indexes."""
