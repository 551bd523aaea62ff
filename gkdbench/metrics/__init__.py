"""Confusion matrices and what is computed from them."""
