"""The queue's database: SQLite in a file, or PostgreSQL that all replicas share.

What is kept (usage, keys) has its tables in the room that it belongs to, on the one `METADATA`; the steps that make and
change them are in `migrations/versions`, one chain for all rooms.
"""
