"""The cluster volume: archive layout, manifests, base backups, restore points, restore, verify, expire."""
