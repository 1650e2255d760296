"""The checks before the GPU: a chain of small pure functions that CEL, the webhook and `headrace lint` share."""
