"""Measurements of StillDB from outside, as an ordinary client, and of its parts. ``python -m bench --help``."""
