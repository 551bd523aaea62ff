"""Decoders: from an encoder's features to per-pixel class scores or to boxes, with their own task loss."""
