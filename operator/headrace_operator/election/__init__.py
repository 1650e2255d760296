"""Leader election through a Lease: of several operators one writes, the others are warm and wait."""
