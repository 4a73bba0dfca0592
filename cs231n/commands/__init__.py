"""The commands of ``python -m cs231n``: modules with `add_options(parser)`, `run(options)`."""
