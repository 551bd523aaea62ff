"""Benchmarks, models and their shipped weights: data only."""
