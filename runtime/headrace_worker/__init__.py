"""`headrace-worker`: runs one model engine and pulls requests for it from a queue."""
