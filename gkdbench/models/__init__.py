"""Encoders (timm), weights, decoders, and the networks that join them."""
