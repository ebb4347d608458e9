"""Backups: one file says what is in it (`manifest.py`), one is about each tier (`hot.py`, `cold.py`)."""
