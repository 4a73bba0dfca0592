"""The two decorators: what they make of arguments and caches, what they refuse, what they keep."""

import ast
import inspect
import io
import pickle
import tokenize
import typing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from cases import DTYPES

from cs231n import fast_layers, layers
from cs231n.core.contract import backward, forward


class ScaleCache(NamedTuple):
    """x (N, D), s (D,)."""

    x: np.ndarray
    s: np.ndarray


class AffineCache(NamedTuple):
    """The documented form of an affine layer's cache."""

    x: np.ndarray
    w: np.ndarray
    b: np.ndarray

    @property
    def out_shape(self):
        return len(self.x), self.w.shape[1]


@forward(x="N D", s="D")
def scale_forward(x: np.ndarray, s: np.ndarray, times: int = 1) -> tuple[np.ndarray, ScaleCache]:
    """Scale the columns of x."""
    return x * s * times, ScaleCache(x, s)


@backward(ScaleCache, x="N D", s="D")
def scale_backward(dout, cache, need_dx=True):
    """Back-propagate through a scale."""
    x, s = cache
    return dout * s if need_dx else None, (dout * x).sum(axis=0)


@forward(x="N+ ...")
def filled(x):
    return x


@forward(x="N D...", w="D M")
def rows(x, w):
    return x.reshape(len(x), len(w)) @ w


@forward(x="N* C H*", gamma="1 C 1")
def normalise(x, gamma, param):
    return x, gamma


@forward(x="N C", y="in C")
def pick(x, y):
    return x[np.arange(len(y)), y]


@backward(AffineCache, x="N D...", w="D M", b="M")
def documented(dout, cache):
    return dout, cache.w, cache.b


@forward(x="N D", s="D")
def outer(x, s):
    return scale_forward(x[:, :1], s)


X, S = np.arange(6.0).reshape(2, 3), np.array([1.0, 2.0, 3.0])
OUT, CACHE = scale_forward(X, S)


def test_what_describes_a_function_survives():
    assert scale_forward.__name__ == "scale_forward"
    assert scale_forward.__doc__ == "Scale the columns of x."
    parameters = inspect.signature(scale_forward).parameters
    assert list(parameters) == ["x", "s", "times"]
    assert parameters["times"].default == 1
    assert typing.get_type_hints(scale_forward)["return"] == tuple[np.ndarray, ScaleCache]
    assert pickle.loads(pickle.dumps(scale_forward)) is scale_forward


@pytest.mark.parametrize("module", [layers, fast_layers])
def test_the_layers_say_their_shapes(module):
    for name in module.__all__:
        if name.rpartition("_")[0].endswith(("forward", "backward")) or name.endswith("ward"):
            function = getattr(module, name)
            assert "(N, " in function.__doc__ or "any shape" in function.__doc__, name
            assert "return" in typing.get_type_hints(function), name


def test_arguments_come_by_position_or_name():
    for found in (
        scale_forward(X, s=S, times=2),
        scale_forward(times=2, s=S, x=X),
        scale_forward(X, S, 2),
    ):
        np.testing.assert_array_equal(found[0], X * S * 2)
    dx, _ = scale_backward(cache=CACHE, dout=OUT)
    np.testing.assert_array_equal(dx, OUT * S)
    assert scale_backward(OUT, CACHE, need_dx=False)[0] is None
    assert scale_backward(OUT, CACHE, False)[0] is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scale_forward(X), ": missing a required argument: 's'"),
        (lambda: scale_forward(X, S, 1, 2), r"\(\) takes from 2 to 3 positional arguments but 4"),
        (lambda: scale_forward(X, S, scale=2), ": got an unexpected keyword argument 'scale'"),
    ],
)
def test_arguments_that_do_not_fit(call, message):
    with pytest.raises(TypeError, match=f"^scale_forward{message}"):
        call()


def test_float_arrays_are_not_copied():
    x = np.ones((2, 3), np.float32)[:, ::-1]
    cache = scale_forward(x, S)[1]
    assert cache.x is x
    assert cache.s is S


@pytest.mark.parametrize("dtype", DTYPES)
def test_integers_take_the_dtype_of_the_others(dtype):
    x = X.astype(dtype)
    _, cache = scale_forward(x.tolist(), S.astype(dtype))
    assert cache.x.dtype == np.float64  # a list of floats is one of doubles
    _, cache = scale_forward(X.astype(int), S.astype(dtype))
    assert cache.x.dtype == dtype
    _, cache = scale_forward(x > 1, [1, 2, 3])
    assert cache.x.dtype == cache.s.dtype == np.float64


BAD_DTYPES = ["float16", "complex64", "object", "datetime64[s]", "U3", np.longdouble]


@pytest.mark.parametrize("dtype", BAD_DTYPES)
def test_other_dtypes_are_refused(dtype):
    for place, name in enumerate(["x", "s"]):
        arrays = [X, S]
        arrays[place] = np.ones(arrays[place].shape).astype(dtype)
        message = f"ward: {name} has dtype {arrays[place].dtype}; expected float32, float64 or"
        with pytest.raises(TypeError) as caught:
            scale_forward(*arrays)
        assert message in str(caught.value)
        with pytest.raises(TypeError) as caught:
            scale_backward(OUT, ScaleCache(*arrays))
        assert message in str(caught.value)
    dout = np.ones(OUT.shape).astype(dtype)
    with pytest.raises(TypeError) as caught:
        scale_backward(dout, CACHE)
    assert str(caught.value).startswith(f"scale_backward: dout has dtype {dout.dtype}; expected")


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (scale_forward, (X[0], S), "x has shape (3,); expected (N, D)"),
        (scale_forward, (X[None], S), "x has shape (1, 2, 3); expected (N, D)"),
        (scale_forward, (X, S[:2]), "x has 3 inputs but s has 2 (x (2, 3), s (2,); expected"),
        (scale_forward, ([[1.0], [1.0, 2.0]], S), "x is not a rectangular array ("),
        (filled, (X[:0],), "x has shape (0, 3); expected at least one sample"),
        (filled, (np.float64(1),), "x has shape (); expected (N, ...)"),
        (rows, (X, np.ones((4, 2))), "x has 3 inputs for each sample but w has 4 rows (x (2, 3)"),
        (rows, (np.ones((2, 3, 2)), S[:, None]), "x has 6 inputs for each sample but w has 3 rows"),
        (normalise, (np.ones((2, 3, 0)), np.ones((1, 3, 1)), {"mode": "train"}),
         "x has shape (2, 3, 0); expected at least one pixel"),
        (normalise, (np.ones((2, 3, 1)), np.ones((1, 3, 2)), {}), "gamma has shape (1, 3, 2)"),
        (normalise, (np.ones((2, 3, 1)), np.ones((2, 3, 1)), {}), "gamma has shape (2, 3, 1)"),
        (normalise, (np.ones((2, 3, 1)), np.ones((1, 2, 1)), {}), "x has 3 channels but gamma"),
        (pick, (X, [0, 3]), "y has labels from 0 to 3; expected 0 to 2, for there are 3 classes"),
        (pick, (X, [0, -1]), "y has labels from -1 to 0; expected 0 to 2"),
        (pick, (X, [0]), "y has shape (1,); expected (2,)"),
        (outer, (X, S), "x has 1 inputs but s has 3"),
        (scale_backward, (OUT[:1], CACHE), "dout has shape (1, 3); expected (2, 3), the shape"),
        (scale_backward, (OUT, ScaleCache(X, S[:2])), "x has 3 inputs but s has 2"),
    ],
)  # fmt: skip
def test_shapes_that_are_refused(function, arguments, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        function(*arguments)
    assert str(caught.value).startswith(f"{function.__name__}: {message}")


def test_what_may_be_empty():
    assert rows(np.ones((0, 2, 2)), np.ones((4, 1))).shape == (0, 1)
    assert normalise(np.ones((0, 3, 2)), np.ones((1, 3, 1)), {"mode": "test"})[0].shape == (0, 3, 2)


SUBCLASS = type("SubclassCache", (ScaleCache,), {})


@pytest.mark.parametrize(
    "cache", [None, (X, S), (X,), {}, X, [X, S], AffineCache(X, S, S), 3, SUBCLASS(X, S)]
)
def test_another_cache_is_refused(cache):
    message = rf"^scale_backward: cache is a {type(cache).__name__}; expected the ScaleCache that"
    with pytest.raises(TypeError, match=message):
        scale_backward(OUT, cache)


def test_a_plain_tuple_of_a_documented_form():
    x, w, b = np.ones((2, 3), np.float32), [[1, 2], [3, 4], [5, 6]], np.ones(2, np.float32)
    dout = np.ones((2, 2), np.float32)
    for cache in ((x, w, b), AffineCache(x, w, b)):
        dx, dw, db = documented(dout, cache)
        assert dx is dout
        assert [dw.dtype, db.dtype] == [np.float32, np.float32]
        np.testing.assert_array_equal(dw, w)
    for wrong in ((x, w), (x, w, b, {}), [x, w, b]):
        with pytest.raises(
            TypeError, match=r"^documented: cache is a \w+; expected the AffineCache"
        ):
            documented(dout, wrong)
    with pytest.raises(
        ValueError, match=r"^documented: x has 3 inputs for each sample but w has 2"
    ):
        documented(dout, (x, w[:2], b))


def test_gradients_have_the_dtypes_of_their_arrays():
    cache = ScaleCache(X.astype(np.float32), S)
    assert [d.dtype.name for d in scale_backward(OUT, cache)] == ["float32", "float64"]


@pytest.mark.parametrize("flag", [np.ones(2), np.zeros((2, 0, 2))])
def test_a_flag_is_true_or_false(flag):
    for function in (scale_backward, layers.affine_backward, fast_layers.conv_relu_backward_fast):
        cache = CACHE
        if function is not scale_backward:
            name = function.__name__.replace("backward", "forward")
            module = fast_layers if name.endswith("fast") else layers
            arrays = [np.ones((1, 1, 1, 1))] * 2 if "conv" in name else [np.ones((1, 1))] * 2
            options = [{"stride": 1, "pad": 0}] if "conv" in name else []
            out, cache = getattr(module, name)(*arrays, np.ones(1), *options)
        dout = OUT if function is scale_backward else out
        with pytest.raises(TypeError, match=r"need_dx is a ndarray; expected True or False"):
            function(dout, cache, need_dx=flag)


# What the reference layers gain by it


SOURCE = Path(layers.__file__).read_text("utf-8")
FUNCTIONS = [node for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.FunctionDef)]


def code_lines(source):
    """Return the numbers of the lines that hold more than docstring or comment."""
    documented = set()
    for node in ast.walk(ast.parse(source)):
        kinds = ast.Module, ast.ClassDef, ast.FunctionDef
        if isinstance(node, kinds) and ast.get_docstring(node) is not None:
            documented |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    layout = (
        tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
        tokenize.ENDMARKER,
    )  # fmt: skip
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = (range(t.start[0], t.end[0] + 1) for t in tokens if t.type not in layout)
    return {number for span in lines for number in span} - documented


def test_lines_of_code_are_counted_rightly():
    source = (
        '"""Doc.\n\nMore.\n"""\n\n# why\nx = (\n    1,  # one\n\n)\n\n\ndef f():\n    """Doc."""\n'
    )
    assert code_lines(source) == {7, 8, 10, 13}


def test_the_reference_layers_are_short():
    code = code_lines(SOURCE)
    assert len(code) <= 290
    for function in FUNCTIONS:
        body = function.body[0].lineno, function.end_lineno
        assert len([line for line in code if body[0] <= line <= body[1]]) <= 20, function.name


def test_the_reference_layers_name_and_raise_nothing():
    names = {function.name for function in FUNCTIONS}
    for function in FUNCTIONS:
        for node in ast.walk(function):
            assert not isinstance(node, (ast.Raise, ast.Assert)), function.name
            is_name = isinstance(node, ast.Constant) and node.value in names
            assert not is_name, f"{function.name} names itself or another"


def test_a_keyword_after_an_argument_left_out_arrives():
    @forward(x="N D")
    def layer(x, factor=2.0, shift=0.0):
        return x * factor + shift

    np.testing.assert_array_equal(layer(np.ones((1, 2)), shift=5.0), [[7.0, 7.0]])


def test_a_cache_that_stands_in_another_is_one_of_plain_entries():
    class Inner(NamedTuple):
        x: np.ndarray

    class Outer(NamedTuple):
        first: Inner
        x: np.ndarray

    inner = backward(Inner, x="N")(lambda dout, cache: dout)
    array = backward(np.ndarray)(lambda dout, cache: dout)
    with pytest.raises(ValueError, match=r"^backward: Outer and Inner share names"):
        backward(Outer, inner, x="N")
    with pytest.raises(ValueError, match=r"^backward: the cache of <lambda> cannot stand in"):
        backward(Outer, array, x="N")
