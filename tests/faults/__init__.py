"""The operator under faults: killed between any two writes, with a stale view, with odd specs, all of it at random."""
