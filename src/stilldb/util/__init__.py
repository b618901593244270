"""Logging, asyncio and process helpers, failpoints. Imports nothing of stilldb."""
