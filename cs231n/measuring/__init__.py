"""Fair timing, and the machine that was measured."""
