"""The kitten and the puppy, where public notebooks open them."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cs231n.image_utils import load_image

TOP = Path(__file__).resolve().parents[2]
PLACES = [
    "notebooks",
    "notebooks/notebook_images",
    "notebooks/cs231n/notebook_images",
    "cs231n/notebook_images",
    "notebook_images",
    ".",
]


@pytest.fixture(scope="module")
def pictures():
    """Return the script that draws them."""
    spec = importlib.util.spec_from_file_location("pictures", TOP / "notebooks" / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.sampled(5)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["kitten", "puppy"])
def test_pictures_are_what_the_script_draws(pictures, name, place):
    pixels = load_image(TOP / place / f"{name}.jpg")
    assert pixels.shape == (300, 400, 3)
    drawn = np.asarray(pictures.PICTURES[name]())
    # JPEG changes a little, and so do two versions of Pillow.
    assert np.abs(pixels.astype(float) - drawn).mean() < 6


@pytest.mark.parametrize("name", ["kitten", "puppy"])
def test_grey_and_edges_show_in_the_square_that_notebooks_cut_out(name):
    with Image.open(TOP / "notebooks" / f"{name}.jpg") as picture:
        square = picture.convert("RGB").crop((50, 0, 350, 300)).resize((200, 200))
    pixels = np.asarray(square, float)
    grey = pixels @ [0.3, 0.6, 0.1]
    assert grey.std() > 35  # light and dark
    assert np.abs(pixels - grey[..., None]).mean() > 15  # colours, which grey takes away
    edges = np.abs(np.diff(grey, axis=0)) > 20
    assert 0.02 < edges.mean() < 0.4
