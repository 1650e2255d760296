"""The `headrace` command: what people run on their own machine."""
