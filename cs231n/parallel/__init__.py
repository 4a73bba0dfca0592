"""Training over many processes: shares of a minibatch, and sums in a fixed order."""
