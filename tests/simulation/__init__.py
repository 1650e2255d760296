"""Queue and workers in one thread, on a clock that jumps and a network that fails, all by a seed.

The parts that decide are the real ones: schedule, dispatcher, exchanges, the queue's end of the workers' connections,
the worker's sessions, its engine client and its unacknowledged results. Clock, network, engines and clients are the
simulator's. One seed is one run, always the same; `python -m tests.simulation SEED` runs it again and shows each step.
"""
