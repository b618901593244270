"""The stilldb command: a client of the two network interfaces, and the way to start a server."""
