"""What every request used, written once: by the replica that had it, or by any other that a worker tells of it."""
