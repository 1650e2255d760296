"""The parts of `tests.bench.fleet`."""
