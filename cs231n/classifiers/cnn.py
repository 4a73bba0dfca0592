"""Convolutional networks: the course's own, and networks of any depth from a description.

All of `cs231n.layers`, `cs231n.layer_utils` and `cs231n.fast_layers` can be imported from here too.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cs231n import layer_utils
from cs231n.classifiers import blank
from cs231n.classifiers.architecture import Token, parse
from cs231n.classifiers.initial import set_identity, whitening_filters
from cs231n.classifiers.layer import FORK
from cs231n.classifiers.network import Network, gaussian
from cs231n.core import checks
from cs231n.core.window import Window

# Notebooks star-import this module and expect all layers.
from cs231n.layer_utils import *  # noqa: F403
from cs231n.layer_utils import (
    AFFINE,
    BEHIND_BATCHNORM,
    CONV,
    CONV_RELU,
    DROPOUT,
    GELU,
    GLOBAL_AVG_POOL,
    GLOBAL_MAX_POOL,
    LEAKY_RELU,
    POOL,
    RELU,
    SCALE,
    SHORTCUT,
    SILU,
    SPATIAL_BATCHNORM,
    SPATIAL_GROUPNORM,
    Stage,
)

# As in `cs231n.layer_utils`.
globals()["__all__"] = ["ConvNet", "ThreeLayerConvNet", *vars(layer_utils)["__all__"]]

_NORMALIZATIONS = (None, "batchnorm", "groupnorm")
# Their stages and options.
ACTIVATIONS: dict[str, tuple[Stage, tuple[Any, ...]]] = {
    "relu": (RELU, ()),
    "leaky_relu": (LEAKY_RELU, (0.01,)),
    "gelu": (GELU, ("exact",)),
    "gelu_tanh": (GELU, ("tanh",)),
    "silu": (SILU, ()),
}
_NORMALISED = {unit: stage for stage, unit in BEHIND_BATCHNORM.items()}
_GLOBAL_POOLS = {"gavg": GLOBAL_AVG_POOL, "gmax": GLOBAL_MAX_POOL}


class ThreeLayerConvNet(Network):
    """A network of the form conv - relu - 2x2 max pool - affine - relu - affine - softmax.

    The convolution has stride 1 and pads (filter_size - 1) / 2 pixels, which keeps the image's
    size for odd filters.

    Parameters
    ----------
    input_dim : tuple (C, H, W)
        Shape of an image.
    num_filters : int
        Number of filters F.
    filter_size : int
        Height and width of the filters in pixels.
    hidden_dim : int
        Number of units of the hidden affine layer.
    num_classes : int
        Number of classes.
    weight_scale : float
        Standard deviation of the initial weights.
    reg : float
        Strength of L2 regularisation, with the factor 0.5.
    dtype : dtype
        np.float32 or np.float64.

    Raises
    ------
    ValueError, TypeError
        If an argument is not sensible.
    """

    def __init__(
        self,
        input_dim: tuple[int, int, int] = (3, 32, 32),
        num_filters: int = 32,
        filter_size: int = 7,
        hidden_dim: int = 100,
        num_classes: int = 10,
        weight_scale: float = 1e-3,
        reg: float = 0.0,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(reg, dtype)
        where = "ThreeLayerConvNet"
        C, H, W = self.input_shape = _input_shape(where, input_dim)
        F = checks.integer(where, "num_filters", num_filters, least=1)
        size = checks.integer(where, "filter_size", filter_size, least=1)
        M = checks.integer(where, "hidden_dim", hidden_dim, least=1)
        classes = checks.integer(where, "num_classes", num_classes, least=1)
        draw = gaussian(checks.number(where, "weight_scale", weight_scale, low=0))
        self._arguments = {
            **{"input_dim": [C, H, W], "num_filters": F, "filter_size": size},
            **{"hidden_dim": M, "num_classes": classes},
        }

        checks.room_for_weight(where, "num_filters and filter_size", F, C, size, size)
        conv_param = {"stride": 1, "pad": (size - 1) // 2}
        pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}
        OH, OW = Window(size, size, **conv_param).output_size(where, H, W)
        OH, OW = Window.for_pool(pool_param, where).output_size(where, OH, OW)
        checks.room_for_weight(where, "num_filters and hidden_dim", F * OH * OW, M)
        checks.room_for_weight(where, "hidden_dim and num_classes", M, classes)
        self._add(CONV_RELU, conv_param, W1=draw(F, C, size, size), b1=np.zeros(F))
        self._add(POOL, pool_param)
        self._add(AFFINE, W2=draw(F * OH * OW, M), b2=np.zeros(M))
        self._add(RELU)
        self._add(AFFINE, W3=draw(M, classes), b3=np.zeros(classes))


class ConvNet(Network):
    """A convolutional network of any depth, described by a string.

    The description names the layers in forward order, with hyphens between them:

    ============= ==============================================================================
    conv32        32 filters of 3x3 that keep the size of the image, [normalisation], activation
    conv32x5      the same with filters of 5x5; the size is odd, unless a v is behind
    conv32s2      with stride 2, which halves the size (rounded up); after the size: conv32x5s2
    conv32x2v     v for "valid": no padding, so that filters of 2x2 make the image smaller by 1
    conv32p       p for "pool": 2x2 max pooling between the convolution and its normalisation
    conv32f       f for "frozen": the filters stay as they are, the biases learn
    whiten2       whitening filters of 2x2, twice as many as a patch has numbers (24 of RGB images),
                  valid and frozen, no normalisation, activation; see `whiten`
    res(...)      residual block, such as res(conv64s2-conv64): what comes in is added before the
                  last activation; res(conv64-conv64)x3 is three of them
    resnet20      the convolutions of a ResNet-20: resnet20-fc10 is the network for CIFAR-10
    pool, pool3   max pooling of 2x2 windows, which halves the size (rounded down); of 3x3
    gavg          mean of each channel over the whole image, a vector
    gmax          maximum of each channel over the whole image, a vector
    fc100         affine layer of 100 units, activation, [dropout]; the last layer, an fc, gives
                  the scores
    fc10/9        the last layer with its scores divided by 9
    ============= ==============================================================================

    The letters v, p and f stand behind a convolution's numbers, in this order.

    Parameters
    ----------
    architecture : str
        Description.
    input_dim : tuple (C, H, W)
        Shape of an image.
    normalization : {None, 'batchnorm', 'groupnorm'}
        Normalisation between each convolution and its activation.
    dropout_keep_ratio : float
        Probability of keeping a unit of a hidden affine layer, in (0, 1]; 1 is no dropout.
    reg : float
        Strength of L2 regularisation, with the factor 0.5.
    weight_scale : float, optional
        Standard deviation of the initial weights.  By default ``sqrt(2 / fan_in)`` for each layer
        with a relu and ``sqrt(1 / fan_in)`` for the scores, where fan_in is the number of inputs
        of one unit.
    label_smoothing : float
        Part of the target that all classes share, in [0, 1].
    dtype : dtype
        np.float32 or np.float64.
    seed : int, optional
        Given to `numpy.random.seed` at each dropout, so that a gradient check sees one mask.
    num_groups : int
        Groups of channels of each image that group normalisation normalises.
    rng : numpy.random.Generator, optional
        Source of the initial weights and of dropout's masks, instead of NumPy's global generator:
        with ``rng=np.random.default_rng(42)`` runs can be repeated, and every step has a new mask.
    activation : {'relu', 'leaky_relu', 'gelu', 'gelu_tanh', 'silu'}
        What units make of their input.
    learn_scale : bool
        Whether normalisation learns its scale; with False it stays 1, and only the shift learns.
    bn_momentum : float
        Share of the running statistics that batch normalisation keeps at each step.
    init : {'he', 'dirac'}
        Initial weights: those described at weight_scale, or drawn with a standard deviation of
        ``sqrt(1 / (3 * fan_in))`` for all layers, and as many filters of each convolution as it has
        channels set to pass their own channel on.

    Attributes
    ----------
    architecture : str
        As the parameter.
    num_layers : int
        Number of convolutions and affine layers; their parameters are W1, b1 to Wn, bn, and
        gamma1, beta1 and so on for the normalisation behind a convolution of this number.

    Raises
    ------
    ValueError, TypeError
        If an argument is not sensible; for a wrong description the message names the token.

    Notes
    -----
    A convolution in front of batch normalisation keeps its bias, though the subtraction of the
    mean cancels it and its gradient is zero: the parameters have the same names and shapes
    with any normalisation, and F numbers cost nothing beside F filters.

    References
    ----------
    He, Zhang, Ren and Sun, Delving Deep into Rectifiers: Surpassing Human-Level Performance on
    ImageNet Classification, ICCV 2015 (the initial weights).

    He, Zhang, Ren and Sun, Deep Residual Learning for Image Recognition, CVPR 2016 (residual
    blocks; ResNet-20 with shortcuts of option A).

    Zagoruyko and Komodakis, DiracNets: Training Very Deep Neural Networks Without Skip-Connections,
    2017 (arXiv:1706.00388), and Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, 2024
    (arXiv:2404.00498), for filters that are the identity at first.

    Examples
    --------
    >>> model = ConvNet("conv32-conv32-pool-conv64-conv64-pool-fc10", normalization="batchnorm")
    >>> print(model.summary())  # doctest: +SKIP
    """

    def __init__(
        self,
        architecture: str = "conv32-conv32-pool-conv64-conv64-pool-fc10",
        input_dim: tuple[int, int, int] = (3, 32, 32),
        normalization: str | None = None,
        dropout_keep_ratio: float = 1,
        reg: float = 0.0,
        weight_scale: float | None = None,
        label_smoothing: float = 0.0,
        dtype: Any = np.float32,
        seed: int | None = None,
        num_groups: int = 8,
        rng: np.random.Generator | None = None,
        activation: str = "relu",
        learn_scale: bool = True,
        bn_momentum: float = 0.9,
        init: str = "he",
    ) -> None:
        super().__init__(reg, dtype, label_smoothing)
        checks.generator("ConvNet", rng)
        self._rng = rng
        tokens = parse(architecture)
        keep = checks.number("ConvNet", "dropout_keep_ratio", dropout_keep_ratio, 0, 1, True)
        self.architecture, self.num_layers = architecture, 0
        self.normalization = checks.choice(
            "ConvNet", "normalization", normalization, _NORMALIZATIONS
        )
        self._activation = ACTIVATIONS[
            checks.choice("ConvNet", "activation", activation, ACTIVATIONS)
        ]
        self._learn_scale = checks.flag("ConvNet", "learn_scale", learn_scale)
        self._bn_momentum = checks.number("ConvNet", "bn_momentum", bn_momentum, 0, 1)
        self._is_dirac = checks.choice("ConvNet", "init", init, ("he", "dirac")) == "dirac"
        self._whitened = ""
        self._num_groups = checks.integer("ConvNet", "num_groups", num_groups, least=1)
        self._weight_scale = weight_scale
        if weight_scale is not None:
            self._weight_scale = checks.number("ConvNet", "weight_scale", weight_scale, low=0)
        if keep != 1:
            self._set_dropout(keep, seed)
        self.input_shape = _input_shape("ConvNet", input_dim)
        self._arguments = {
            **{"architecture": architecture, "input_dim": list(self.input_shape)},
            **{"normalization": normalization, "dropout_keep_ratio": keep, "seed": seed},
            **{"label_smoothing": self.label_smoothing, "num_groups": self._num_groups},
            **{"activation": activation, "learn_scale": self._learn_scale},
            **{"bn_momentum": self._bn_momentum, "init": init},
        }
        self._add_layers(tokens)
        if keep != 1 and not any(layer.stage == DROPOUT for layer in self._layers):
            raise ValueError(
                f"ConvNet: dropout_keep_ratio is {keep} but {architecture!r} has no hidden affine"
                f" layer; expected 'fc<units>' before the last layer"
            )

    def _set_dropout(self, keep: float, seed: int | None) -> None:
        """Let dropout keep this share, and draw by the seed or the network's generator if any."""
        self.dropout_param = {"mode": "train", "p": keep}
        if seed is not None:
            self.dropout_param["seed"] = seed
        if self._rng is not None:
            self.dropout_param["rng"] = self._rng

    def _add_layers(self, tokens: list[Token]) -> None:
        """Append the layers of a description, of which the last one gives the scores."""
        shape: tuple[int, ...] = self.input_shape
        for token in tokens[:-1]:
            shape = self._add_token(token, shape)
        self._add_affine(tokens[-1], shape, gain=1)
        if tokens[-1].divisor != 1:
            self._add(SCALE, 1 / tokens[-1].divisor)

    def _add_token(self, token: Token, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Append the layers of a token; return the shape of a sample behind them."""
        if token.kind == "fc":
            return self._add_hidden(token, shape)
        if len(shape) == 1:
            raise ValueError(
                f"{token.place} needs an image, but its input is a vector of {shape[0]} numbers;"
                f" expected 'fc<units>'"
            )
        if token.kind == "res":
            return self._add_block(token, shape)
        if token.kind in ("conv", "whiten"):
            return self._add_conv(token, shape)
        if token.kind == "pool":
            return self._add_pool(token, token.size, shape)
        self._add(_GLOBAL_POOLS[token.kind])
        return shape[:1]

    def _add_hidden(self, token: Token, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Append a hidden affine layer, its activation, and dropout if any."""
        if token.divisor != 1:
            raise ValueError(f"{token.place} is hidden; expected a divisor of the scores only")
        shape = self._add_affine(token, shape, gain=2)
        self._add_activation()
        if self.dropout_param:
            self._add(DROPOUT, self.dropout_param)
        return shape

    def _add_activation(self) -> None:
        """Append the activation alone."""
        stage, options = self._activation
        self._add(stage, *options)

    def _add_pool(self, token: Token, size: int, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Append max pooling of windows side by side."""
        self._add(POOL, {"pool_height": size, "pool_width": size, "stride": size})
        return shape[0], *Window(size, size, size).output_size(token.place, *shape[1:])

    def _add_block(self, token: Token, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Append a residual block, whose last activation follows the sum."""
        self._add(FORK)
        C, size = shape[0], shape[1:]
        for inner in token.inside[:-1]:
            shape = self._add_conv(inner, shape)
        shape = self._add_conv(token.inside[-1], shape, activated=False)
        stride = math.prod(inner.stride for inner in token.inside)
        if shape[0] < C or any(-(-one // stride) != other for one, other in zip(size, shape[1:])):
            raise ValueError(
                f"{token.place} makes {shape} of {(C, *size)}, which cannot be added; expected at"
                f" least as many filters as channels, and no change of size but by strides"
            )
        self._add(SHORTCUT, stride)
        self._add_activation()
        return shape

    def _add_conv(
        self, token: Token, shape: tuple[int, ...], activated: bool = True
    ) -> tuple[int, ...]:
        """Append a convolution, pooling and normalisation if any, and the activation."""
        C, size, is_whitening = shape[0], token.size, token.kind == "whiten"
        F = 2 * C * size**2 if is_whitening else token.units
        is_valid = token.valid or is_whitening
        if size % 2 == 0 and not is_valid:
            raise ValueError(
                f"{token.place} has filters of {size}x{size}; expected an odd size, or a v for no"
                f" padding"
            )
        window = Window(size, size, token.stride, pad=0 if is_valid else (size - 1) // 2)
        shape = F, *window.output_size(token.place, *shape[1:])
        checks.room_for_weight(token.place, "filters and size", F, C, size, size)
        weights = self._weights((F, C, size, size), units=F, gain=2)
        if is_whitening or token.frozen:
            self.frozen = {*self.frozen, f"W{self.num_layers}"}
        if is_whitening:
            self._whitened = f"W{self.num_layers}"
        param = {"stride": window.stride, "pad": window.pad}
        normalised = self.normalization is not None and not is_whitening
        fused = self._activation[0] == RELU and activated and not (normalised or token.early)
        self._add(CONV_RELU if fused else CONV, param, **weights)
        if token.early:
            shape = self._add_pool(token, 2, shape)
        if normalised:
            self._add_normalization(token, F, activated)
        elif activated and not fused:
            self._add_activation()
        return shape

    def _add_normalization(self, token: Token, F: int, activated: bool) -> None:
        """Append the normalisation of F channels, and the activation behind it."""
        groups, param = self._num_groups, {"mode": "train"}
        self.bn_params.append(param)
        names = f"gamma{self.num_layers}", f"beta{self.num_layers}"
        if not self._learn_scale:
            self.frozen = {*self.frozen, names[0]}
        if self.normalization == "batchnorm":
            if self._bn_momentum != 0.9:
                param["momentum"] = self._bn_momentum  # type: ignore[assignment]
            weights = dict(zip(names, (np.ones(F), np.zeros(F))))
            if activated:
                unit, options = self._activation
                self._add(_NORMALISED[unit], param, *options, **weights)
            else:
                self._add(SPATIAL_BATCHNORM, param, **weights)
            return
        if F % groups:
            raise ValueError(
                f"{token.place} has {F} filters and num_groups is {groups};"
                f" expected filters divisible by num_groups"
            )
        weights = dict(zip(names, (np.ones((1, F, 1, 1)), np.zeros((1, F, 1, 1)))))
        self._add(SPATIAL_GROUPNORM, groups, param, **weights)
        if activated:
            self._add_activation()

    def whiten(self, images: np.ndarray, eps: float = 5e-4) -> None:
        """Set the filters of the layer 'whiten', from the covariance of patches of images.

        Parameters
        ----------
        images : ndarray of shape (N, C, H, W)
            Training images, as the network gets them; some thousand are enough.
        eps : float
            Added to the variances; see `cs231n.classifiers.initial.whitening_filters`.

        Raises
        ------
        ValueError, TypeError
            If the network has no such layer, it stands behind one that changes the channels, or the
            images have another shape.
        """
        if not self._whitened:
            raise ValueError(
                f"ConvNet.whiten: {self.architecture!r} has no whitening layer; expected 'whiten2'"
                f" at its beginning"
            )
        (images,) = checks.float_arrays("ConvNet.whiten", images=images)
        checks.shapes("ConvNet.whiten", images=(images, "N C H W"))
        checks.exact_shape("ConvNet.whiten", "images", images, (len(images), *self.input_shape))
        _, channels, size, _ = self.params[self._whitened].shape
        if channels != images.shape[1]:
            raise ValueError(
                f"ConvNet.whiten: {self._whitened} takes maps of {channels} channels, but images"
                f" have {images.shape[1]}; expected 'whiten{size}' at the beginning of"
                f" {self.architecture!r}"
            )
        filters = whitening_filters(images, size, eps)
        self.params[self._whitened] = filters.astype(self.dtype)

    @property
    def is_whitening(self) -> bool:
        """Whether there is a layer whose filters `whiten` sets."""
        return bool(self._whitened)

    def _add_affine(self, token: Token, shape: tuple[int, ...], gain: float) -> tuple[int, ...]:
        """Append an affine layer."""
        M = token.units
        checks.room_for_weight(token.place, "inputs and units", math.prod(shape), M)
        self._add(AFFINE, **self._weights((math.prod(shape), M), units=M, gain=gain))
        return (M,)

    def _weights(self, shape: tuple[int, ...], units: int, gain: float) -> dict[str, np.ndarray]:
        """Draw the weights of the next layer; its biases are zero."""
        self.num_layers += 1
        fan_in = math.prod(shape) // units
        scale = self._weight_scale
        if self._is_dirac:
            gain = 1 / 3
        draw = gaussian(math.sqrt(gain / fan_in) if scale is None else scale, self._rng)
        w = draw(*shape)
        if self._is_dirac and len(shape) == 4 and not blank.in_use():
            set_identity(w)
        return {f"W{self.num_layers}": w, f"b{self.num_layers}": np.zeros(units)}


def _input_shape(where: str, input_dim: Any) -> tuple[int, int, int]:
    """Return the shape (C, H, W) of an image as three positive integers."""
    try:
        C, H, W = input_dim
    except (TypeError, ValueError):
        raise ValueError(f"{where}: input_dim is {input_dim!r}; expected (C, H, W)") from None
    C, H, W = (checks.integer(where, "input_dim", size, least=1) for size in (C, H, W))
    return C, H, W
