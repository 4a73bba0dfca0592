"""Saliency maps, fooling images and class images of PyTorch models, without torchvision.

The functions have the names and arguments that notebooks with a pretrained SqueezeNet call.
PyTorch is optional: it is imported when a function first needs it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from cs231n.core import checks
from cs231n.image_utils import deprocess_image, preprocess_image
from cs231n.net_visualization import Slope, climb, climb_until_fooled
from cs231n.torch_bridge import require_torch

__all__ = [
    "blur_image",
    "class_visualization_update_step",
    "compute_saliency_maps",
    "deprocess",
    "jitter",
    "make_fooling_image",
    "preprocess",
    "rescale",
]

_REACH = 4  # standard deviations at which the bell of a blur ends
_COPIES = 50  # of an image, to see what dropout makes of it
_MOST_SIGMA = 1000  # pixels, more than any picture needs


def preprocess(img: Any, size: int = 224) -> Any:
    """Turn a picture into the batch of one image that a model trained on ImageNet expects.

    Parameters
    ----------
    img : PIL.Image.Image or ndarray of shape (H, W, 3)
        Picture; an array holds pixels from 0 to 255.
    size : int
        Pixels that the shorter side gets; the other keeps the proportions.

    Returns
    -------
    x : Tensor of shape (1, 3, H, W)
        float32, normalised by SQUEEZENET_MEAN and SQUEEZENET_STD.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    ValueError, TypeError
        If size is no positive integer or img no colour picture.
    """
    torch = require_torch("preprocess")
    from PIL import Image

    size = checks.integer("preprocess", "size", size, least=1)
    picture = img if isinstance(img, Image.Image) else _picture("preprocess", img)
    picture = picture.convert("RGB")
    shorter = min(picture.size)
    width, height = (max(1, size * side // shorter) for side in picture.size)
    pixels = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    channels_first = preprocess_image(pixels).transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(channels_first[np.newaxis]))


def deprocess(img: Any, should_rescale: bool = True) -> Any:
    """Undo `preprocess`: a picture from the first image of a batch.

    Parameters
    ----------
    img : Tensor of shape (N, 3, H, W)
        Normalised images.
    should_rescale : bool
        Stretch the values so that the least becomes black and the greatest white.

    Returns
    -------
    picture : PIL.Image.Image

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    ValueError, TypeError
        If img does not have four axes, three channels and at least one image.
    """
    from PIL import Image

    _check_images("deprocess", "img", img)
    if img.shape[1] != 3 or len(img) == 0:
        raise ValueError(f"deprocess: img has shape {tuple(img.shape)}; expected (1, 3, H, W)")
    channels_last = _as_array(img[0]).transpose(1, 2, 0)
    return Image.fromarray(deprocess_image(channels_last, should_rescale))


def rescale(x: Any) -> Any:
    """Stretch values so that they run from 0 to 1.

    Parameters
    ----------
    x : Tensor or ndarray

    Returns
    -------
    Tensor or ndarray
        Of the same shape; zeros where all values are equal.

    Raises
    ------
    ValueError, TypeError
        If x is no tensor or array, or empty.
    """
    checks.attributes("rescale", "x", x, "shape", "min", "max")
    if 0 in x.shape:
        raise ValueError(f"rescale: x has shape {tuple(x.shape)}; expected at least one value")
    low, high = x.min(), x.max()
    return (x - low) / (high - low if high > low else 1)


def blur_image(X: Any, sigma: float = 1) -> Any:
    """Blur images in place with a Gaussian; beyond an edge is its mirror image.

    Parameters
    ----------
    X : Tensor of shape (N, C, H, W)
        Images, overwritten.
    sigma : float
        Standard deviation in pixels, at most 1000; 0 leaves the images as they are.

    Returns
    -------
    X : Tensor of shape (N, C, H, W)
        The same tensor.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    ValueError, TypeError
        If X does not have four axes or sigma is no number from 0 to 1000.
    """
    torch = require_torch("blur_image")
    sigma = checks.number("blur_image", "sigma", sigma, low=0, high=_MOST_SIGMA)
    _check_images("blur_image", "X", X)
    bell = _bell(sigma)
    images = _as_array(X)
    for axis in (2, 3):
        images = _smooth(images, bell, axis)
    with torch.no_grad():
        return X.copy_(torch.from_numpy(images))


def jitter(X: Any, ox: int, oy: int) -> Any:
    """Shift images; what leaves on one side comes in on the other.

    Parameters
    ----------
    X : Tensor of shape (N, C, H, W)
        Images, left alone.
    ox, oy : int
        Pixels by which to shift to the right and down; negative ones go the other way.

    Returns
    -------
    Tensor of shape (N, C, H, W)

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    ValueError, TypeError
        If X does not have four axes or a shift is no integer.
    """
    _check_images("jitter", "X", X)
    shifts = [
        checks.integer("jitter", name, shift, least=-checks.MOST)
        for name, shift in (("oy", oy), ("ox", ox))
    ]
    return require_torch("jitter").roll(X, shifts, dims=(2, 3))


def compute_saliency_maps(X: Any, y: Any, model: Any) -> Any:
    """Compute how much each pixel matters for the score of its image's label.

    Parameters
    ----------
    X : Tensor of shape (N, C, H, W)
        Images.
    y : Tensor of shape (N,)
        Labels.
    model : torch.nn.Module
        Gives scores (N, classes).  Used in evaluation mode and left as it was.

    Returns
    -------
    saliency : Tensor of shape (N, H, W)

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    ValueError, TypeError
        If X is no batch of images, y does not hold their labels, or model is no module that gives
        scores.

    Notes
    -----
    As `cs231n.net_visualization.compute_saliency_maps`.
    """
    _check_images("compute_saliency_maps", "X", X)
    with _slope("compute_saliency_maps", model) as slope:
        _, dX = slope(X, y)
    return dX.abs().amax(dim=1)


def make_fooling_image(
    X: Any, target_y: int, model: Any, learning_rate: float = 1.0, max_iterations: int = 100
) -> Any:
    """Change an image a little, until the model takes it for another class.

    Steps follow the scores in evaluation mode, to the border and so far past it that the image
    fools the model in the mode in which it was handed over, too: with dropout on, for instance.

    Parameters
    ----------
    X : Tensor of shape (1, C, H, W)
        Image; it is left alone.
    target_y : int
        The class that the model shall see.
    model : torch.nn.Module
        Left as it was, and so is PyTorch's random generator.
    learning_rate : float
        Euclidean length of a step.
    max_iterations : int
        Steps at most.

    Returns
    -------
    X_fooling : Tensor of shape (1, C, H, W)
        The image of the last step, if no step was enough.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    ValueError, TypeError
        If X is not a single image, model is no module that gives scores, or another argument is
        not sensible.

    Notes
    -----
    As `cs231n.net_visualization.make_fooling_image`, except for the steps past the border. They end
    when the model as it was handed over sees the target in 50 copies of the image, or after twice
    as many steps as it took to the border and ten more.
    """
    where = "make_fooling_image"
    _check_images(where, "X", X, "(1, C, H, W)")
    target_y = checks.integer(where, "target_y", target_y, least=0)
    learning_rate = checks.number(where, "learning_rate", learning_rate, low=0)
    max_iterations = checks.integer(where, "max_iterations", max_iterations, least=0)
    training = _training(where, model)
    with _slope(where, model) as slope:
        X = X.detach().clone()
        past = functools.partial(_past_border, model, training, target_y)
        return climb_until_fooled(slope, X, target_y, learning_rate, max_iterations, past=past)


def class_visualization_update_step(
    img: Any, model: Any, target_y: int, l2_reg: float, learning_rate: float
) -> None:
    """Take a step, in place, towards an image with a larger score of a class.

    Parameters
    ----------
    img : Tensor of shape (1, C, H, W)
        Image, overwritten; it may require a gradient, and keeps none.
    model : torch.nn.Module
        Used in evaluation mode and left as it was.
    target_y : int
        Class.
    l2_reg : float
        Strength of the pull towards zero.
    learning_rate : float
        Euclidean length of the step.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    ValueError, TypeError
        If img is not a single image, model is no module that gives scores, or another argument is
        not sensible.

    Notes
    -----
    ``img += learning_rate * g / ||g||`` with ``g = d (score[target_y] - l2_reg * sum(img ** 2)) /
    d img``, as in `cs231n.net_visualization.create_class_visualization`.
    """
    where = "class_visualization_update_step"
    _check_images(where, "img", img, "(1, C, H, W)")
    target_y = checks.integer(where, "target_y", target_y, least=0)
    l2_reg = checks.number(where, "l2_reg", l2_reg, low=0)
    learning_rate = checks.number(where, "learning_rate", learning_rate, low=0)
    with _slope(where, model) as slope:
        stepped = climb(slope, img.detach(), [target_y], learning_rate, l2_reg)
        img.data.copy_(stepped)


@contextmanager
def _slope(where: str, model: Any) -> Iterator[Slope]:
    """Give the function of images and labels that returns scores and gradients of the images.

    Meanwhile the model is in evaluation mode.  Its parameters get no gradients.
    """
    torch = require_torch(where)
    if not isinstance(model, torch.nn.Module):
        raise TypeError(
            f"{where}: model is a {type(model).__name__}; expected a torch.nn.Module"
            f" (cs231n.net_visualization takes networks of this package)"
        )

    def slope(X: Any, y: Any) -> tuple[Any, Any]:
        X = X.detach().requires_grad_()
        with torch.enable_grad():
            scores = model(X)
            chosen = scores.gather(1, _labels(where, y, scores).view(-1, 1)).sum()
        (dX,) = torch.autograd.grad(chosen, X)
        return scores.detach(), dX

    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield slope
    finally:
        for module, training in modes:
            module.training = training


def _training(where: str, model: Any) -> list[Any]:
    """Return the parts of a PyTorch model that are in training mode."""
    modules = model.modules() if isinstance(model, require_torch(where).nn.Module) else ()
    return [module for module in modules if module.training]


def _past_border(model: Any, training: Sequence[Any], target: int, image: Any) -> Any:
    """Return the way to fool a model with these parts in training mode too; None if it does.

    The image is shown several times at once, for dropout differs.  Running statistics and the
    random generator are left as they were.
    """
    if not training:
        return None
    torch = require_torch("make_fooling_image")
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    image = image.detach().requires_grad_()
    try:
        for module in training:
            module.training = True
        with torch.enable_grad(), torch.random.fork_rng([image.device] if image.is_cuda else []):
            scores = model(image.repeat(_COPIES, 1, 1, 1))
            if bool((scores.argmax(dim=1) == target).all()):
                return None
            chosen = scores.log_softmax(dim=1)[:, target].sum()
            return torch.autograd.grad(chosen, image)[0]
    finally:
        model.eval()
        for buffer, before in buffers:
            buffer.copy_(before)


def _labels(where: str, y: Any, scores: Any) -> Any:
    """Return a label for each row of the scores as a tensor."""
    torch = require_torch(where)
    if scores.ndim != 2:
        raise ValueError(
            f"{where}: model gives scores of shape {tuple(scores.shape)}; expected (N, classes)"
        )
    y = y.detach().cpu().numpy() if isinstance(y, torch.Tensor) else y
    labels = checks.labels(where, y, *scores.shape).astype(np.int64)
    return torch.from_numpy(labels).to(scores.device)


def _picture(where: str, img: Any) -> Any:
    """Return an array of pixels (H, W, 3) as a picture."""
    from PIL import Image

    pixels = checks.real_array(where, "img", img)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise ValueError(f"{where}: img has shape {pixels.shape}; expected a picture or (H, W, 3)")
    if not (pixels.min() >= 0 and pixels.max() <= 255):
        raise ValueError(
            f"{where}: img has pixels from {pixels.min()} to {pixels.max()}; expected 0 to 255"
        )
    return Image.fromarray(pixels.astype(np.uint8))


def _check_images(where: str, name: str, X: Any, shape: str = "(N, C, H, W)") -> None:
    """Raise an error unless X is a batch of images, of one image where the shape says so."""
    if not isinstance(X, require_torch(where).Tensor) or not X.is_floating_point():
        found = getattr(X, "dtype", type(X).__name__)
        raise TypeError(f"{where}: {name} is a {found}; expected a Tensor of floats {shape}")
    if X.ndim != 4 or 0 in X.shape[1:] or (shape[1] == "1" and len(X) != 1):
        raise ValueError(f"{where}: {name} has shape {tuple(X.shape)}; expected {shape}")


def _as_array(tensor: Any) -> np.ndarray:
    """Return a tensor of floats as an array, of float32 at least: NumPy has no bfloat16."""
    tensor = tensor.detach().cpu()
    return np.asarray((tensor.float() if tensor.dtype.itemsize < 4 else tensor).numpy())


def _bell(sigma: float) -> np.ndarray:
    """Return the weights of a Gaussian, which add up to 1."""
    reach = int(_REACH * sigma + 0.5)
    places = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (places / max(sigma, 1e-9)) ** 2)
    return weights / weights.sum()


def _smooth(images: np.ndarray, bell: np.ndarray, axis: int) -> np.ndarray:
    """Average along an axis, with the mirror image beyond its ends."""
    reach = len(bell) // 2
    pads = [(reach, reach) if other == axis else (0, 0) for other in range(images.ndim)]
    padded = np.pad(images, pads, mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(bell), axis=axis)
    return windows @ bell.astype(images.dtype)
