"""Decoders: from an encoder's features to per-pixel class scores, with their own task loss."""
