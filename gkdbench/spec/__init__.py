"""What a run is: benchmarks, models, recipes, selections and their digests. Imports no torch."""
