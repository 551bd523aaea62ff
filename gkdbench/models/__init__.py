"""Encoders (timm), weights, decoders and the segmentor that joins them."""
