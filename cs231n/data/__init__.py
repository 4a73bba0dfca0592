"""Data sets: where they are found, how they are read, fetched and drawn."""
