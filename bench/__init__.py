"""Benchmarks. Each compares with a named baseline in the same run, and prints a table or, with --json, one object."""
