
"""Built-in methods, one per file; they import gkdbench.api and one another only."""
