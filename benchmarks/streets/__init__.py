"""The embedded benchmark's street scenes: drawn by the harness itself, no downloads."""
