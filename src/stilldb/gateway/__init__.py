"""The MongoDB-speaking server in front of one PostgreSQL: sessions, registry, cursors, commands."""
