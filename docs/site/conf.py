"""Configuration of Sphinx; `docs/build_site.py` puts the sources beside it."""

from pathlib import Path

import matplotlib
from own_figures import scrape

import cs231n

matplotlib.use("agg")

project = "cs231n"
author = "The cs231n developers"
copyright = f"2026, {author}"
version = release = cs231n.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx-mathjax-offline",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_templates", "gallery/*.ipynb", "gallery/*.py", "gallery/*.md5"]
# The first one is that of the pages that autosummary writes.
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}
default_role = "py:obj"
autodoc_typehints = "none"
autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
doctest_global_setup = "import numpy as np"

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_merge_streams = True
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header", "config.cache"]

sphinx_gallery_conf = {
    "examples_dirs": [str(Path(__file__).resolve().parents[1] / "gallery")],
    "gallery_dirs": ["gallery"],
    "filename_pattern": "plot_",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 10**6,
    "write_computation_times": False,
    "show_signature": False,
    "image_scrapers": ("matplotlib", scrape),
    "reset_modules": ("matplotlib",),
}

html_theme = "pydata_sphinx_theme"
html_title = "cs231n"
html_favicon = "favicon.svg"
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "logo": {"text": "cs231n"},
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_context = {"default_mode": "auto"}
html_static_path = ["_static"]
html_css_files = ["site.css"]
# Pages without others below them have nothing to navigate to.
single = ("index", "start", "teachers", "coming_from_*", "changelog", "contributing", "search")
html_sidebars = {page: [] for page in single}
html_show_sourcelink = False
html_copy_source = False
