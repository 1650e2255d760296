"""The vocabulary all Headrace programs share: pure, pydantic only, no I/O, no clock."""
