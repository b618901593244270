"""The control plane's own state in SQLAlchemy: tables, migrations, repository."""
