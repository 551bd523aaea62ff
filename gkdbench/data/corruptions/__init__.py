"""Corrupted images: the kinds and severities of Pascal-C, repeatable bit for bit, on the fly or kept on disk."""
