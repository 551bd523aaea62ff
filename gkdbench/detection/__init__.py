"""Detection: boxes, the detector that finds them, and how it is judged."""
