"""What `--recipe` means: options of a file, of which those on the command line take precedence."""

from __future__ import annotations

import argparse

from cs231n.commands.recipes import files
from cs231n.commands.train.options import add_options, drop_unsuited

__all__ = ["followed"]


def followed(options: argparse.Namespace) -> argparse.Namespace:
    """Return the options with those of the recipe that they name, if they name one.

    Parameters
    ----------
    options : argparse.Namespace
        Of a new run, with those in `given` that stood on the command line.

    Returns
    -------
    options : argparse.Namespace
        With the names of those that the recipe gave in `of_recipe`.

    Notes
    -----
    What the file says of something that the command line takes out, such as the shift of an
    augmentation or the warm-up of a schedule, goes with it; groups of parameters do once there is a
    network, if it has none of these.
    """
    if options.recipe is None:
        return options
    parser = argparse.ArgumentParser(add_help=False)
    add_options(parser)
    of_recipe = parser.parse_args(files.words(options.recipe))
    followed = argparse.Namespace(**vars(options))
    given: set[str] = getattr(options, "given", set())
    from_file = of_recipe.given - given
    for name in from_file:
        setattr(followed, name, getattr(of_recipe, name))
    drop_unsuited(followed, from_file)
    followed.given, followed.of_recipe = given | of_recipe.given, from_file
    return followed
