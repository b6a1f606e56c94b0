"""This machine: what it has and what it feels. Readings that are not there are None, never an invented number."""
