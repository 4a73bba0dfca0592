"""Let the gallery show figures that pyplot does not know, as those of `cs231n.vis_utils`."""

from typing import Any

from matplotlib.figure import Figure

__all__ = ["scrape"]


def scrape(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save the variable `figure` of an example, and return the lines that show it."""
    from sphinx_gallery.scrapers import figure_rst

    figure = block_vars["example_globals"].pop("figure", None)
    if not isinstance(figure, Figure) or hasattr(figure, "number"):  # pyplot numbers its own
        return ""
    path = next(block_vars["image_path_iterator"])
    figure.savefig(path)
    return figure_rst([path], gallery_conf["src_dir"])
