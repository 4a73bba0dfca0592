"""Grids of images, training curves and filters."""

import io
import pickle
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cs231n.vis_utils import (
    plot_filters,
    plot_graph,
    plot_history,
    vis_grid,
    vis_nn,
    visualize_grid,
)


def test_visualize_grid_scales_each_tile_and_pads_between_them(rng):
    images = rng.standard_normal((5, 4, 3, 2)) * np.arange(1, 6).reshape(5, 1, 1, 1)
    grid = visualize_grid(images, ubound=10.0, padding=2)
    assert grid.shape == (3 * 4 + 2 * 2, 3 * 3 + 2 * 2, 2)  # five tiles in a square of nine
    assert grid.dtype == np.float64
    rest = np.ones(grid.shape, bool)
    for n, image in enumerate(images):
        y, x = n // 3 * (4 + 2), n % 3 * (3 + 2)
        tile = grid[y : y + 4, x : x + 3]
        assert (tile.min(), tile.max()) == (0, 10)
        np.testing.assert_allclose(tile * np.ptp(image) / 10 + image.min(), image, atol=1e-12)
        rest[y : y + 4, x : x + 3] = False
    assert not grid[rest].any()


def test_visualize_grid_defaults_give_back_full_range_bytes(rng):
    images = rng.integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
    images[:, 0, 0], images[:, 0, 1] = 0, 255
    grid = visualize_grid(images)
    assert grid.shape == (13, 11, 3)
    np.testing.assert_array_equal(grid[7:, 6:].astype("uint8"), images[3])
    assert not grid[6].any()
    assert not grid[:, 5].any()


@pytest.mark.parametrize(("count", "side"), [(1, 1), (2, 2), (4, 2), (5, 3), (9, 3), (10, 4)])
def test_the_grid_is_the_smallest_square(count, side):
    images = np.random.default_rng(count).random((count, 2, 2, 1))
    assert visualize_grid(images, padding=0).shape == (2 * side, 2 * side, 1)
    assert vis_grid(images).shape == (3 * side, 3 * side, 1)


def test_an_image_of_one_colour_is_no_division_by_zero():
    images = np.full((2, 2, 2, 3), 7.0)
    images[1, 0, 0, 0] = 9
    grid = visualize_grid(images)
    assert not grid[:2, :2].any()
    assert grid[0, 3, 0] == 255
    assert not vis_grid(images[:1]).any()
    assert not vis_nn([[np.ones((2, 2, 3))]]).any()
    assert np.isfinite(vis_nn(images[np.newaxis], per_tile=True)).all()


def test_no_tile_passes_the_upper_bound(rng):
    images = rng.standard_normal((400, 2, 2, 1)) * 10.0 ** rng.uniform(-9, 9, (400, 1, 1, 1))
    grid = visualize_grid(images, padding=0)
    assert grid.max() == 255
    assert grid.astype("uint8").max() == 255


def test_vis_grid_scales_all_images_together():
    images = np.array([2.0, 4.0, 6.0]).reshape(3, 1, 1, 1) * np.ones((1, 2, 2, 3))
    grid = vis_grid(images)
    assert grid.shape == (6, 6, 3)
    np.testing.assert_array_equal(
        grid[..., 0],
        [
            [0, 0, 0, 0.5, 0.5, 0],
            [0, 0, 0, 0.5, 0.5, 0],
            [0, 0, 0, 0, 0, 0],
            [1, 1, 0, 0, 0, 0],
            [1, 1, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0],
        ],
    )
    np.testing.assert_array_equal(images[:, 0, 0, 0], [2, 4, 6])


def test_vis_nn_lays_out_rows_over_a_background_of_one():
    row = [np.full((1, 1, 1), value) for value in (0.0, 3.0, 5.0)]
    grid = vis_nn([row, row[::-1]])
    expected = np.array(
        [[0, 1, 3, 1, 5, 1], [1, 1, 1, 1, 1, 1], [5, 1, 3, 1, 0, 1], [1, 1, 1, 1, 1, 1]]
    )
    np.testing.assert_allclose(grid[..., 0], expected / 5)
    bytes_grid = vis_nn(np.array([row, row[::-1]]).astype(np.uint8))
    np.testing.assert_array_equal(bytes_grid, grid)


def test_vis_nn_can_scale_each_tile_to_its_own_range(rng):
    rows = rng.random((2, 3, 4, 4, 3)) * rng.uniform(1, 99, (2, 3, 1, 1, 1))
    grid = vis_nn(rows, per_tile=True)
    assert grid.shape == (2 * 5, 3 * 5, 3)
    for y in (0, 5):
        for x in (0, 5, 10):
            tile = grid[y : y + 4, x : x + 4]
            assert (tile.min(), tile.max()) == (0, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "float16"])
def test_dtypes(dtype, rng):
    images = (rng.random((3, 2, 2, 3)) * 200).astype(dtype)
    expected = "float32" if dtype == "float32" else "float64"
    assert vis_grid(images).dtype == expected
    assert vis_nn([images]).dtype == expected
    assert visualize_grid(np.asfortranarray(images)).dtype == "float64"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: visualize_grid(np.ones((2, 3, 3))), ValueError, r"Xs has shape \(2, 3, 3\); exp"),
        (lambda: vis_grid(np.ones((0, 3, 3, 1))), ValueError, r"vis_grid: Xs has shape \(0, 3"),
        (lambda: vis_grid(np.ones((1, 2, 2, 1), complex)), TypeError, "dtype complex128"),
        (lambda: visualize_grid([[[[1.0]]], [[[np.nan]]]]), ValueError, "image 1 of Xs holds nan"),
        (lambda: visualize_grid(np.ones((1, 1, 1, 1)), padding=-1), ValueError, "padding is -1"),
        (lambda: vis_nn([[1, 2], [3]]), ValueError, r"vis_nn: rows have lengths \[1, 2\]"),
        (lambda: vis_nn([]), ValueError, r"vis_nn: rows have lengths \[\]"),
        (
            lambda: vis_nn([[np.ones((2, 2, 3)), np.ones((2, 3, 3))]]),
            ValueError,
            "vis_nn: rows holds images of different shapes",
        ),
        (lambda: plot_filters(np.ones((4, 32, 3, 3))), ValueError, r"w has shape \(4, 32, 3, 3\)"),
        (lambda: plot_filters(np.ones((27, 4))), ValueError, r"expected \(F, C, HH, WW\)"),
        (lambda: plot_history(object()), TypeError, "object has no loss_history, train_acc"),
        (lambda: plot_history({"a": 3}), TypeError, "a int has no loss_history"),
        (lambda: plot_history({}), ValueError, "no runs to compare"),
        (lambda: plot_history(run(losses=0)), ValueError, "the loss_history is empty"),
        (
            lambda: plot_history({"sgd": run(losses=0)}),
            ValueError,
            "loss_history of 'sgd' is empty",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def run(losses=200, epochs=4, seed=0):
    """Return what a Solver leaves behind."""
    rng = np.random.default_rng(seed)
    return SimpleNamespace(
        loss_history=list(2.3 * np.exp(-np.arange(losses) / 100) + 0.1 * rng.random(losses)),
        train_acc_history=list(np.linspace(0.1, 0.6, epochs + 1)),
        val_acc_history=[0.1, *np.linspace(0.5, 0.4, epochs)] if epochs else [0.1],
    )


def image_size(path):
    """Return the width and height of a picture in a file."""
    with Image.open(path) as image:
        return image.size


def drawn(axes):
    """Return the x and y values of each line on the axes."""
    return [line.get_data() for line in axes.lines]


def test_plot_history_of_one_run():
    history = run()
    figure = plot_history(history, title="A run")
    loss, accuracy = figure.axes
    (dots_x, dots), (smooth_x, smooth) = drawn(loss)
    np.testing.assert_array_equal(dots_x, np.arange(200))
    np.testing.assert_array_equal(smooth_x, np.arange(200))
    np.testing.assert_array_equal(dots, history.loss_history)
    assert np.abs(np.diff(smooth)).mean() < 0.5 * np.abs(np.diff(dots)).mean()
    (epochs, train), (_, val) = drawn(accuracy)
    np.testing.assert_array_equal(epochs, np.arange(5))
    np.testing.assert_array_equal(train, history.train_acc_history)
    np.testing.assert_array_equal(val, history.val_acc_history)
    texts = [text.get_text() for text in accuracy.get_legend().get_texts()]
    assert texts == ["training", "validation (best 50.0%, epoch 1)"]
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("iteration", "loss")
    assert (accuracy.get_xlabel(), accuracy.get_ylabel()) == ("epoch", "accuracy")
    assert figure.get_suptitle() == "A run"


def test_plot_history_compares_runs():
    runs = {"sgd": run(seed=1), "adam": run(losses=300, epochs=6, seed=2)}
    figure = plot_history(runs)
    loss, train, val = figure.axes
    assert [len(x) for x, _ in drawn(loss)] == [200, 200, 300, 300]
    assert [len(x) for x, _ in drawn(train)] == [5, 7]
    for axes, name in ((train, "train_acc_history"), (val, "val_acc_history")):
        for (_, values), history in zip(drawn(axes), runs.values()):
            np.testing.assert_array_equal(values, getattr(history, name))
    assert train.get_ylim() == val.get_ylim()
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == [
        "sgd (best 50.0%, epoch 1)",
        "adam (best 50.0%, epoch 1)",
    ]
    colors = [line.get_color() for line in val.lines]
    assert [line.get_color() for line in train.lines] == colors
    assert colors == [line.get_color() for line in loss.lines[1::2]]


def test_every_run_of_many_has_a_look_of_its_own():
    figure = plot_history({f"run {n}": run(20, 2, n) for n in range(20)})
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[2].lines}
    assert len(looks) == 20


def test_smoothing_keeps_a_straight_line_and_leaves_out_what_is_not_finite():
    history = run(losses=400)
    history.loss_history = [3 - 0.001 * n for n in range(400)]
    (_, smooth) = drawn(plot_history(history).axes[0])[1]
    np.testing.assert_allclose(smooth[10:-10], history.loss_history[10:-10], rtol=1e-12)
    history.loss_history[200:203] = [np.nan, np.inf, -np.inf]
    (_, dots), (_, smooth) = drawn(plot_history(history).axes[0])
    assert np.isnan(dots[200:203]).all()
    np.testing.assert_allclose(smooth[10:-10], 3 - 0.001 * np.arange(10, 390), atol=5e-3)
    history.loss_history = [np.nan] * 5
    plot_history(history)


@pytest.mark.parametrize(("losses", "epochs"), [(1, 0), (80, 40)])
def test_runs_of_any_length_can_be_drawn(losses, epochs, tmp_path):
    path = tmp_path / "curves.png"
    plot_history(run(losses, epochs), path=path)
    assert image_size(path) == (1500, 570)
    plot_history({"a": run(losses, epochs)}, path=path)
    assert image_size(path) == (1500, 1050)


def test_a_run_without_accuracies_shows_its_losses():
    history = run()
    history.train_acc_history = history.val_acc_history = []
    loss, accuracy = plot_history(history).axes
    assert len(loss.lines[0].get_xdata()) == 200
    assert accuracy.get_legend().get_texts()[1].get_text() == "validation"


def test_plot_filters_draws_each_filter_in_its_own_range(rng, tmp_path):
    w = rng.standard_normal((7, 3, 4, 5)) * np.arange(1, 8).reshape(7, 1, 1, 1)
    figure = plot_filters(w, title="Filters", path=tmp_path / "filters.png")
    (image,) = figure.axes[0].images
    pixels = np.asarray(image.get_array())
    assert pixels.shape == (1 + 3 * 5, 1 + 3 * 6, 3)  # a square of nine; nothing is cut off
    tile = pixels[6:10, 7:12]  # the fifth filter
    assert (tile.min(), tile.max()) == (0, 1)
    fifth = w[4].transpose(1, 2, 0)
    np.testing.assert_allclose(tile, (fifth - fifth.min()) / np.ptp(fifth), atol=1e-12)
    assert (tmp_path / "filters.png").stat().st_size > 1000


def test_plot_filters_takes_grey_filters_and_drops_empty_rows(rng):
    figure = plot_filters(rng.standard_normal((5, 1, 3, 3)).astype(np.float32))
    (image,) = figure.axes[0].images
    assert image.get_array().shape == (1 + 2 * 4, 1 + 3 * 4)
    assert image.get_clim() == (0, 1)


def test_a_figure_shows_itself_in_a_notebook_and_can_be_pickled():
    figure = plot_history(run())
    picture = Image.open(io.BytesIO(figure._repr_png_()))
    assert picture.format == "PNG"
    assert picture.size == (1000, 380)
    again = pickle.loads(pickle.dumps(figure))
    assert len(again.axes) == 2


def test_nothing_global_is_touched():
    code = (
        "import sys, types, cs231n.vis_utils as v\n"
        "assert not any(name.startswith('matplotlib') for name in sys.modules)\n"
        "names = ['loss_history', 'train_acc_history', 'val_acc_history']\n"
        "run = types.SimpleNamespace(**{name: [1.0] for name in names})\n"
        "v.plot_history(run)._repr_png_()\n"
        "assert 'matplotlib.figure' in sys.modules\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


def test_plot_graph_draws_nodes_and_both_ways_of_every_edge(tmp_path):
    nodes = {"x": (0, 0), "$\\mu$": (1, 1), "c": (2, 0)}
    edges = [("x", "$\\mu$"), ("x", "c"), ("$\\mu$", "c")]
    figure = plot_graph(nodes, edges, {"c": "dc"}, title="a graph", path=tmp_path / "graph.png")
    (axes,) = figure.axes
    texts = {text.get_text(): text.get_position() for text in axes.texts if text.get_text()}
    assert {name: texts[name] for name in nodes} == nodes
    assert texts["dc"][0] == 2
    arrows = [text for text in axes.texts if getattr(text, "arrow_patch", None)]
    assert len(arrows) == 2 * len(edges)
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # row 0 is at the top
    assert (tmp_path / "graph.png").stat().st_size > 1000


def test_plot_graph_refuses_what_is_no_node():
    with pytest.raises(ValueError, match="plot_graph: v, z are no nodes; expected some of x"):
        plot_graph({"x": (0, 0)}, [("x", "z")], {"v": "dv"})


def test_nodes_may_be_numbers():
    (axes,) = plot_graph({1: (0, 0), "2": (1, 0)}, [(1, 2)], {2: "d2"}).axes
    assert {"1", "2", "d2"} <= {text.get_text() for text in axes.texts}
