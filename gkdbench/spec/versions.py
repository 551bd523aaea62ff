"""Version numbers that enter digests: raise one when the same spec would no longer give the same result."""

ENGINE = 1
"""Training loop, sampling, augmentation, optimiser, seeding."""
DECODER = 1
"""Decoder architectures, their initialisation and their task loss."""
READING = 1
"""How files are found, decoded and mapped to classes; of splits that are rendered nothing is read."""
EVALUATION = 1
"""Resizing, windows, argmax and counting."""
