"""Gradient checks that say what is wrong with a layer."""
