"""Corrupted images: ImageNet-C's kinds and severities, repeatable bit for bit, on the fly or kept on disk."""
