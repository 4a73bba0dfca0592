"""Behind `cs231n.search`: space, study, workers, table, pictures."""
