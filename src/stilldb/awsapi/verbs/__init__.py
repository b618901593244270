"""The admin verbs: what Amazon DocumentDB's API has no operation for."""
