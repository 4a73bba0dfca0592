"""The compiled core: the choice of a backend, its doors, its threads and its memory."""
