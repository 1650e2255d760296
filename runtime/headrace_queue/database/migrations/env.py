"""alembic executes this file for each of its commands: it migrates over the connection that the caller has made."""

from alembic import context

from headrace_queue.database.metadata import METADATA
from headrace_queue.database.migrate import CONNECTION

context.configure(connection=context.config.attributes[CONNECTION], target_metadata=METADATA, render_as_batch=True)
context.run_migrations()
