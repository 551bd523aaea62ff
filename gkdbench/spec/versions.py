"""Version numbers that enter digests: raise one when the same spec would no longer give the same result."""

ENGINE = 1
"""Training loop, sampling, augmentation, optimiser, seeding."""
DECODER = 1
"""Decoder architectures, their initialisation and their task loss."""
EVALUATION = 1
"""Resizing, windows, argmax and counting."""
