"""What alembic runs; `database.migrate` calls it."""
