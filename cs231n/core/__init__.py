"""Checks of arguments, the contract of the layers, the arithmetic of windows."""
