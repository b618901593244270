"""What runs on this host for a cluster: volumes opened and closed, gateway processes, addresses."""
