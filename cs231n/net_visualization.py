"""What a network sees: saliency maps, fooling images and class images, by gradients of the pixels.

All three ask one question, in which direction the pixels must change to raise a class score, and
the backward pass answers it: `Network.backward` goes on from the first layer's weights to the
images.  `cs231n.net_visualization_pytorch` does the same for PyTorch models; the climbing below
serves both, for it knows only arithmetic that arrays and tensors share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cs231n.classifiers.network import Network
from cs231n.core import checks
from cs231n.image_utils import blur_image

__all__ = [
    "climb",
    "climb_until_fooled",
    "compute_saliency_maps",
    "create_class_visualization",
    "make_fooling_image",
]

Slope = Callable[[Any, Any], tuple[Any, Any]]


def compute_saliency_maps(X: np.ndarray, y: np.ndarray, model: Network) -> np.ndarray:
    """Compute how much each pixel matters for the score of its image's label.

    Parameters
    ----------
    X : ndarray of shape (N, C, H, W)
        Images, as the network was trained on them.
    y : ndarray of shape (N,)
        Labels.
    model : Network
        Used in test mode; its parameters are left alone.

    Returns
    -------
    saliency : ndarray of shape (N, H, W)
        In the dtype of the network.

    Raises
    ------
    ValueError, TypeError
        If X is no batch of images that the network takes, or y does not hold their labels.

    Notes
    -----
    The saliency of a pixel is the largest ``|d score[y] / d pixel|`` of its channels [1]_.

    References
    ----------
    .. [1] K. Simonyan, A. Vedaldi, A. Zisserman, "Deep Inside Convolutional Networks: Visualising
       Image Classification Models and Saliency Maps", 2013, arXiv:1312.6034.
    """
    where = "compute_saliency_maps"
    X = _images(where, X)
    _, dX = _slope(where, model)(X, y)
    return np.abs(dX).max(axis=1)


def make_fooling_image(
    X: np.ndarray,
    target_y: int,
    model: Network,
    learning_rate: float = 10.0,
    max_iterations: int = 100,
    bounds: tuple[Any, Any] | None = None,
) -> np.ndarray:
    """Change an image a little, until the network takes it for another class.

    Parameters
    ----------
    X : ndarray of shape (1, C, H, W)
        Image; it is left alone.
    target_y : int
        The class that the network shall see.
    model : Network
        Used in test mode; its parameters are left alone.
    learning_rate : float
        Euclidean length of a step, in the units of the pixels.
    max_iterations : int
        Steps at most.
    bounds : (low, high), optional
        Smallest and largest pixels, numbers or arrays that broadcast to X; for images from which
        a mean image was subtracted ``(-mean_image, 255 - mean_image)``.

    Returns
    -------
    X_fooling : ndarray of shape (1, C, H, W)
        In the dtype of the network.  The image of the last step, if no step was enough.

    Raises
    ------
    ValueError, TypeError
        If X is not one image that the network takes, or an argument is not sensible.

    Notes
    -----
    Gradient ascent on the score of the target, with steps of one length:
    ``X += learning_rate * g / ||g||`` with ``g = d score[target_y] / dX``.  That so little is
    needed was found in [1]_.

    References
    ----------
    .. [1] C. Szegedy, W. Zaremba, I. Sutskever, J. Bruna, D. Erhan, I. Goodfellow, R. Fergus,
       "Intriguing properties of neural networks", 2013, arXiv:1312.6199.
    """
    where = "make_fooling_image"
    X = _images(where, X)
    if len(X) != 1:
        raise ValueError(f"{where}: X has shape {X.shape}; expected (1, C, H, W), a single image")
    target_y = checks.integer(where, "target_y", target_y, least=0)
    learning_rate = checks.number(where, "learning_rate", learning_rate, low=0)
    max_iterations = checks.integer(where, "max_iterations", max_iterations, least=0)
    slope = _slope(where, model)
    X = X.astype(model.dtype)
    clip = _clipper(where, bounds, X)
    return climb_until_fooled(slope, X, target_y, learning_rate, max_iterations, clip)


def create_class_visualization(
    target_y: int | np.ndarray,
    model: Network,
    shape: tuple[int, int, int] = (3, 32, 32),
    l2_reg: float = 0.0,
    learning_rate: float = 50.0,
    num_iterations: int = 100,
    blur_every: int = 1,
    max_jitter: int = 2,
    bounds: tuple[Any, Any] | None = None,
    start: np.ndarray | None = None,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Draw the image that a class has in a network: the one with the largest score.

    Parameters
    ----------
    target_y : int or ndarray of shape (N,)
        Class, or a class for each image.
    model : Network
        Used in test mode; its parameters are left alone.
    shape : tuple (C, H, W)
        Shape of an image.
    l2_reg : float
        Strength of the pull towards zero, which is the mean image of the training set.
    learning_rate : float
        Euclidean length of a step, in the units of the pixels.
    num_iterations : int
        Steps.
    blur_every : int
        Steps from one gentle blur, by `cs231n.image_utils.blur_image`, to the next; 0 is none.
    max_jitter : int
        Pixels by which images may be shifted, each way, while a step is taken.
    bounds : (low, high), optional
        Smallest and largest pixels, as for `make_fooling_image`.
    start : ndarray of shape (C, H, W) or (N, C, H, W), optional
        Where to start; standard normal noise if it is left out.
    rng : numpy.random.Generator, optional
        Source of the noise and of the shifts; without it they are the same in every call.

    Returns
    -------
    images : ndarray of shape (N, C, H, W)
        In the dtype of the network; N is 1 for a single class.

    Raises
    ------
    ValueError, TypeError
        If an argument is not sensible, or the network does not take images of this shape.

    Notes
    -----
    Gradient ascent on ``score[target_y] - l2_reg * sum(image ** 2)`` [1]_.  The largest score by
    itself belongs to a pattern of fine waves; shifting the image at random before each step [2]_
    and blurring it now and then [3]_ leave what has a meaning for people.

    References
    ----------
    .. [1] K. Simonyan, A. Vedaldi, A. Zisserman, "Deep Inside Convolutional Networks: Visualising
       Image Classification Models and Saliency Maps", 2013, arXiv:1312.6034.
    .. [2] A. Mordvintsev, C. Olah, M. Tyka, "Inceptionism: Going Deeper into Neural Networks",
       2015, Google Research blog.
    .. [3] J. Yosinski, J. Clune, A. Nguyen, T. Fuchs, H. Lipson, "Understanding Neural Networks
       Through Deep Visualization", 2015, arXiv:1506.06579.
    """
    where = "create_class_visualization"
    l2_reg = checks.number(where, "l2_reg", l2_reg, low=0)
    learning_rate = checks.number(where, "learning_rate", learning_rate, low=0)
    num_iterations = checks.integer(where, "num_iterations", num_iterations, least=0)
    blur_every = checks.integer(where, "blur_every", blur_every, least=0)
    max_jitter = checks.integer(where, "max_jitter", max_jitter, least=0)
    rng = np.random.default_rng(231) if rng is None else checks.generator(where, rng)
    slope, targets = _slope(where, model), np.atleast_1d(target_y)
    images = _start(
        where, start, (len(targets), *checks.sequence(where, "shape", shape)), rng
    ).astype(model.dtype)
    clip = _clipper(where, bounds, images)
    for step in range(num_iterations):
        shift = rng.integers(-max_jitter, max_jitter, size=2, endpoint=True)
        images = np.roll(images, shift, axis=(2, 3))
        images = climb(slope, images, targets, learning_rate, l2_reg)
        images = clip(np.roll(images, -shift, axis=(2, 3)))
        if blur_every and step % blur_every == 0:
            images = clip(blur_image(images))  # each pixel got something of its neighbours
    return images


def climb(slope: Slope, images: Any, targets: Any, learning_rate: float, l2_reg: float = 0) -> Any:
    """Take a step that raises the scores of the targets, of one length for each image.

    Parameters
    ----------
    slope : callable
        ``slope(images, targets)`` gives all scores (N, C) and the gradient of the targets' scores
        with respect to the images.
    images : ndarray or Tensor of shape (N, C, H, W)
        Left alone.
    targets : ndarray or Tensor of shape (N,)
        Classes.
    learning_rate : float
        Euclidean length of the step of an image.
    l2_reg : float
        Strength of the L2 term.

    Returns
    -------
    images : ndarray or Tensor of shape (N, C, H, W)
    """
    _, direction = slope(images, targets)
    if l2_reg:
        direction = direction - 2 * l2_reg * images
    return images + learning_rate * _unit(direction)


def climb_until_fooled(
    slope: Slope,
    image: Any,
    target: int,
    learning_rate: float,
    max_iterations: int,
    clip: Callable[[Any], Any] = lambda image: image,
    past: Callable[[Any], Any] = lambda image: None,
) -> Any:
    """Raise the score of a class, step by step, until it is the largest.

    Parameters
    ----------
    slope : callable
        As for `climb`.
    image : ndarray or Tensor of shape (1, C, H, W)
        Left alone.
    target : int
        Class.
    learning_rate : float
        Euclidean length of a step.
    max_iterations : int
        Steps at most.
    clip : callable
        Brings an image back into its bounds.
    past : callable
        The direction in which an image that fools goes on, or None where it is far enough past
        the border; after twice the steps to the border and ten more any is.

    Returns
    -------
    image : ndarray or Tensor of shape (1, C, H, W)
    """
    most = max_iterations
    for step in range(max_iterations):
        scores, direction = slope(image, [target])
        if int(scores.argmax()) == target:
            most = min(most, 2 * step + 10)
            direction = past(image) if step < most else None
            if direction is None:
                break
        image = clip(image + learning_rate * _unit(direction))
    return image


def _unit(direction: Any) -> Any:
    """Scale the direction of each image to length one; zero stays zero."""
    length = (direction * direction).sum(axis=(1, 2, 3), keepdims=True) ** 0.5
    return direction / (length + (length == 0))


def _slope(where: str, model: Network) -> Slope:
    """Return the function of images and labels that gives scores and gradients of the images."""
    if not isinstance(model, Network):
        raise TypeError(
            f"{where}: model is a {type(model).__name__}; expected a Network of this package"
            f" (cs231n.net_visualization_pytorch takes PyTorch models)"
        )

    def slope(X: np.ndarray, y: Any) -> tuple[np.ndarray, np.ndarray]:
        scores, caches = model.forward(X, "test")
        y = checks.labels(where, y, *scores.shape)
        dscores = np.zeros_like(scores)
        dscores[np.arange(len(y)), y] = 1
        dX, _ = model.backward(dscores, caches, need_dx=True)
        return scores, np.asarray(dX)

    return slope


def _images(where: str, X: Any) -> np.ndarray:
    """Return images as floats."""
    (X,) = checks.float_arrays(where, X=X)
    checks.shapes(where, X=(X, "N C H W"))
    return X


def _start(where: str, start: Any, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return the images with which to start: noise, or those given."""
    if start is None:
        return rng.standard_normal(checks.batch_shape(where, "shape", shape))
    (start,) = checks.float_arrays(where, start=start)
    if start.shape not in (shape, shape[1:]):
        raise ValueError(
            f"{where}: start has shape {start.shape}; expected {shape[1:]}, or {shape} for"
            f" {shape[0]} classes"
        )
    return np.broadcast_to(start, shape)


def _clipper(where: str, bounds: Any, X: np.ndarray) -> Callable[[Any], Any]:
    """Return the function that brings images like X back into their bounds."""
    if bounds is None:
        return lambda images: images
    try:
        low, high = bounds
        low, high = (np.broadcast_to(bound, X.shape).astype(X.dtype) for bound in (low, high))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{where}: bounds are no (low, high) that fit images {X.shape} ({error})"
        ) from error
    return lambda images: np.clip(images, low, high)
