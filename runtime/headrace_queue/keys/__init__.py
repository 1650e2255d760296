"""Who may use the queue: clients' keys with their limits, workers' tokens, and what each of them has a right to."""
