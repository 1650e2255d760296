"""Benchmarks: each compares, in one run, with a peer or with what the machine allows."""
