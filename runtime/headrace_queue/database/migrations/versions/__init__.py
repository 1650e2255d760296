"""The steps, each in a file `vNNNN_name.py` with `revision = "NNNN"` and the one before it as `down_revision`.

A released step never changes. While a new version is rolled out the one before it still runs, and after a rollback it
runs again: a step adds, with defaults, and takes nothing away that the version before uses.
"""
