"""Resolved runs executed, stored and recorded."""
