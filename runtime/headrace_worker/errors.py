"""What ends the program with a line for people, and is found out in modules that load late."""


class ProbesError(RuntimeError):
    """The probes cannot be served."""
