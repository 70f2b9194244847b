"""Gradient ascent on one frame, and what shapes it: octaves, tiles, guides, lines."""
