"""Columns and windows: their order, their adjointness, and their compiled twins."""

import numpy as np
import pytest
from cases import CONV_CASES, DTYPES, LAYOUTS
from conftest import KERNELS, assert_close

from cs231n.im2col import (
    Window,
    col2im,
    col2im_indices,
    field_coords,
    get_im2col_indices,
    get_num_fields,
    im2col_indices,
    im2col_naive,
)
from cs231n.layers import conv_backward_naive, conv_forward_naive

NEEDS_EXTENSION = pytest.mark.skipif(KERNELS == ["numpy"], reason="the extension is not built")


def im2col_numpy(x, case):
    """Return the columns by NumPy."""
    return im2col_indices(x, *case.w[2:], padding=case.pad, stride=case.stride)


def col2im_numpy(cols, case):
    """Return the images by NumPy."""
    return col2im_indices(cols, case.x, *case.w[2:], padding=case.pad, stride=case.stride)


def im2col_compiled(x, case):
    """Return the columns by the extension."""
    from cs231n.im2col_cython import im2col_cython

    return im2col_cython(x, *case.w[2:], case.pad, case.stride)


def col2im_compiled(cols, case):
    """Return the images by the extension."""
    from cs231n.im2col_cython import col2im_cython

    return col2im_cython(cols, *case.x, *case.w[2:], case.pad, case.stride)


def im2col_by_fields(x, case):
    """Return the columns position by position."""
    return im2col_naive(x, *case.w[2:], padding=case.pad, stride=case.stride)


def col2im_by_fields(cols, case):
    """Return the images position by position."""
    return col2im(cols, case.x, *case.w[2:], padding=case.pad, stride=case.stride)


TWINS = {
    "numpy": (im2col_numpy, col2im_numpy),
    "fields": (im2col_by_fields, col2im_by_fields),
    "cython": pytest.param((im2col_compiled, col2im_compiled), marks=NEEDS_EXTENSION),
}
twins = pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS)
conv_cases = pytest.mark.parametrize("case", CONV_CASES.values(), ids=CONV_CASES)


@pytest.mark.sampled(5)
@twins
@conv_cases
@pytest.mark.parametrize("dtype", DTYPES)
def test_columns_are_in_the_published_order(case, twin, dtype, rng):
    im2col, _ = twin
    (x, *_), (N, C, H, W), (HH, WW) = case.draw(rng, dtype), case.x, case.w[2:]
    OH, OW = case.out[2:]
    expected = np.zeros((C * HH * WW, OH * OW * N), dtype)
    for c, hh, ww, i, j, n in np.ndindex(C, HH, WW, OH, OW, N):
        row, column = i * case.stride + hh - case.pad, j * case.stride + ww - case.pad
        if 0 <= row < H and 0 <= column < W:
            place = (c * HH + hh) * WW + ww, (i * OW + j) * N + n
            expected[place] = x[n, c, row, column]
    cols = im2col(x, case)
    assert cols.dtype == dtype
    np.testing.assert_array_equal(cols, expected)


@twins
@conv_cases
def test_im2col_and_col2im_are_adjoint(case, twin, rng):
    im2col, col2im = twin
    x = rng.standard_normal(case.x)
    cols = im2col(x, case)
    other = rng.standard_normal(cols.shape)
    image = col2im(other, case)
    assert image.shape == case.x
    assert_close(np.sum(image * x), np.sum(other * cols), looser=10, scale=1.0)


@pytest.mark.sampled(5)
@twins
@conv_cases
@pytest.mark.parametrize("dtype", DTYPES)
def test_col2im_counts_the_windows_over_each_pixel(case, twin, dtype):
    im2col, col2im = twin
    counts = col2im(im2col(np.ones(case.x, dtype), case), case)
    (_, _, H, W), (HH, WW), (OH, OW) = case.x, case.w[2:], case.out[2:]
    expected = np.zeros((H, W))
    for i, j in np.ndindex(OH, OW):
        top, left = i * case.stride - case.pad, j * case.stride - case.pad
        expected[max(top, 0) : max(top + HH, 0), max(left, 0) : max(left + WW, 0)] += 1
    assert counts.dtype == dtype
    np.testing.assert_array_equal(counts, np.broadcast_to(expected, case.x))


@twins
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layout_in_memory_does_not_matter(layout, twin, rng):
    im2col, col2im = twin
    case = CONV_CASES["wide filter, stride 2"]
    x = rng.standard_normal(case.x)
    cols = im2col(x, case)
    np.testing.assert_array_equal(im2col(layout(x), case), cols)
    assert_close(col2im(layout(cols), case), col2im(cols, case))


@twins
@pytest.mark.parametrize("name", ["one by one filter", "single pixel", "no padding"])
def test_results_are_new_memory_and_nothing_is_written_to(name, twin, rng):
    im2col, col2im = twin
    case = CONV_CASES[name]
    x = rng.standard_normal((1, 1, *case.x[2:]))
    case = case._replace(x=x.shape)
    before = x.copy()
    cols = im2col(x, case)
    cols_before = cols.copy()
    image = col2im(cols, case)
    for result in (cols, image):
        assert result.flags.writeable
        assert not np.shares_memory(result, x)
    assert not np.shares_memory(cols, image)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(cols, cols_before)


@twins
def test_integers_become_float64(twin, rng):
    im2col, col2im = twin
    case = CONV_CASES["tall filter"]
    x = rng.integers(0, 9, case.x)
    cols = im2col(x, case)
    assert cols.dtype == np.float64
    np.testing.assert_array_equal(cols, im2col(x.astype(np.float64), case))
    assert col2im(cols.astype(int), case).dtype == np.float64


@conv_cases
def test_index_arrays_pick_the_columns_out_of_the_padded_images(case, rng):
    x, pad = rng.standard_normal(case.x), case.pad
    k, i, j = get_im2col_indices(case.x, *case.w[2:], padding=pad, stride=case.stride)
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    picked = padded[:, k, i, j]  # (N, C * HH * WW, OH * OW)
    rows = case.w[1] * case.w[2] * case.w[3]
    cols = picked.transpose(1, 2, 0).reshape(rows, -1 if x.size else 0)
    np.testing.assert_array_equal(cols, im2col_numpy(x, case))


def test_padding_and_stride_are_one_by_default(rng):
    x = rng.standard_normal((2, 3, 5, 4))
    cols = im2col_indices(x, 3, 3)
    np.testing.assert_array_equal(cols, im2col_indices(x, 3, 3, padding=1, stride=1))
    image = col2im_indices(cols, x.shape)
    np.testing.assert_array_equal(image, col2im_indices(cols, x.shape, 3, 3, padding=1, stride=1))
    for one, other in zip(
        get_im2col_indices(x.shape, 3, 3), get_im2col_indices(x.shape, 3, 3, padding=1, stride=1)
    ):
        np.testing.assert_array_equal(one, other)


@conv_cases
def test_window_counts_its_positions(case):
    window = Window(*case.w[2:], case.stride, case.pad)
    assert window.output_size("test", *case.x[2:]) == case.out[2:]


@twins
@pytest.mark.parametrize(("H", "W"), [(2, 5), (5, 2)])
def test_a_window_larger_than_the_padded_image_is_refused(H, W, twin):
    im2col, _ = twin
    case = CONV_CASES["no padding"]
    with pytest.raises(ValueError, match=rf"window of 3x3 does not fit .* {H}x{W}"):
        im2col(np.ones((1, 1, H, W)), case)


@twins
def test_columns_of_another_shape_are_refused(twin):
    _, col2im = twin
    case = CONV_CASES["no padding"]  # 3 channels of 3x3, and 2 images of 3x4 positions
    with pytest.raises(ValueError, match=r"cols has shape \(24, 27\); expected \(27, 24\)"):
        col2im(np.ones((24, 27)), case)


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5, 6)])
def test_a_shape_that_is_no_batch_of_images_is_refused(shape):
    text = r"x_shape is .*; expected \(N, C, H, W\)"
    with pytest.raises(ValueError, match=f"get_im2col_indices: {text}"):
        get_im2col_indices(shape, 1, 1)
    with pytest.raises(ValueError, match=f"col2im_indices: {text}"):
        col2im_indices(np.ones((3, 4)), shape, 1, 1)
    with pytest.raises(
        ValueError, match=r"im2col_indices: x has shape .*; expected \(N, C, H, W\)"
    ):
        im2col_indices(np.ones(shape), 1, 1)


@conv_cases
def test_fields_are_the_windows_row_by_row(case):
    (_, _, H, W), (HH, WW), (OH, OW) = case.x, case.w[2:], case.out[2:]
    sizes = HH, WW, case.pad, case.stride
    assert get_num_fields(case.x, *sizes) == (OH, OW)
    corners = [(i * case.stride, j * case.stride) for i in range(OH) for j in range(OW)]
    assert list(field_coords(H, W, *sizes)) == [(i, i + HH, j, j + WW) for i, j in corners]


def test_a_window_that_does_not_fit_has_no_fields():
    # At the call, and not only when the first field is asked for.
    with pytest.raises(ValueError, match="field_coords"):
        field_coords(3, 3, 5, 5, 0, 1)
    with pytest.raises(ValueError, match="get_num_fields"):
        get_num_fields((1, 1, 3, 3), 5, 5, 0, 1)


@NEEDS_EXTENSION
@conv_cases
def test_columns_of_six_axes_are_the_same_columns(case, rng):
    from cs231n.im2col_cython import col2im_6d_cython

    (N, C, H, W), (HH, WW), (OH, OW) = case.x, case.w[2:], case.out[2:]
    axes = rng.standard_normal((C, HH, WW, N, OH, OW))
    image = col2im_6d_cython(axes, N, C, H, W, HH, WW, case.pad, case.stride)
    cols = axes.transpose(0, 1, 2, 4, 5, 3).reshape(C * HH * WW, OH * OW * N)
    assert_close(image, col2im_numpy(cols, case))
    with pytest.raises(ValueError, match="col2im_6d_cython: cols has shape"):
        col2im_6d_cython(cols, N, C, H, W, HH, WW, case.pad, case.stride)


@NEEDS_EXTENSION
def test_the_course_s_fast_layers_get_their_gradient_by_six_axes(rng):
    from cs231n.im2col_cython import col2im_6d_cython

    w, dout = rng.standard_normal((4, 3, 3, 2)), rng.standard_normal((2, 4, 5, 4))
    # As the fast_layers.py of public repositories computes dx.
    columns = w.reshape(4, -1).T @ dout.transpose(1, 0, 2, 3).reshape(4, -1)
    columns.shape = (3, 3, 2, 2, 5, 4)
    dx = col2im_6d_cython(columns, 2, 3, 9, 6, 3, 2, 1, 2)
    x = rng.standard_normal((2, 3, 9, 6))
    _, cache = conv_forward_naive(x, w, np.zeros(4), {"stride": 2, "pad": 1})
    assert_close(dx, conv_backward_naive(dout, cache)[0])
