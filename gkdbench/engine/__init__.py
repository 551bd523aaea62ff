"""The method contract, the one training loop, evaluation and checkpoints."""
