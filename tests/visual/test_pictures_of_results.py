"""Confusion matrices, mistakes, activations, and several runs in one figure."""

import itertools
import re
import types

import numpy as np
import pytest
from test_vis_utils import drawn, image_size, run

from cs231n.vis_utils import (
    compare_runs,
    plot_activations,
    plot_confusion,
    plot_history,
    show_mistakes,
)


def texts(axes):
    """Return what is written into the axes, by its place."""
    return {tuple(map(int, text.get_position())): text.get_text() for text in axes.texts}


def legend(axes):
    """Return what the legend of the axes says."""
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_plot_confusion_shows_shares_of_rows_and_counts(tmp_path):
    matrix = [[6, 2, 0], [0, 1, 3], [0, 0, 0]]
    figure = plot_confusion(matrix, ["cat", "$5", "_x"], title="T", path=tmp_path / "m.png")
    (axes,) = figure.axes
    np.testing.assert_allclose(
        axes.images[0].get_array(), [[0.75, 0.25, 0], [0, 0.25, 0.75], [0, 0, 0]]
    )
    assert texts(axes) == {(0, 0): "6", (1, 0): "2", (1, 1): "1", (2, 1): "3"}  # (column, row)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert axes.get_title() == "12 samples, 58.3% on the diagonal"
    assert [t.get_text() for t in axes.get_yticklabels()][:2] == ["cat", r"\$5"]
    assert figure.get_suptitle() == "T"
    assert image_size(tmp_path / "m.png")[0] > 300


def test_plot_confusion_of_many_classes_leaves_numbers_and_names_out():
    figure = plot_confusion(
        np.eye(100, dtype=int), [f"a class of long name {n}" for n in range(100)]
    )
    (axes,) = figure.axes
    assert not axes.texts
    assert len(axes.get_yticklabels()) == 34
    assert all(len(t.get_text()) <= 20 for t in axes.get_yticklabels())


def test_plot_confusion_draws_where_it_is_told():
    figure = plot_history(run())
    assert plot_confusion([[1, 0], [2, 3]], ax=figure.axes[1]) is figure
    assert figure.axes[1].images
    assert not figure.axes[0].images


def wrong_ones():
    """Return images, labels, predictions and scores: images 1 and 3 are mistakes, 3 the worse."""
    images = np.arange(4 * 3 * 2 * 5).reshape(4, 3, 2, 5) - 7.0
    labels, predicted = np.array([0, 1, 2, 0]), np.array([0, 2, 2, 1])
    scores = np.array([[9, 0, 0], [0, 0, 1], [0, 0, 9], [0, 5, 0]], float)
    return images, labels, predicted, scores


def test_show_mistakes_begins_with_the_most_confident():
    figure = show_mistakes(*wrong_ones(), class_names=["cat", "dog", "cow"])
    said = [(axes.get_title(), axes.get_xlabel()) for axes in figure.axes]
    sure = [np.exp(5) / (np.exp(5) + 2), np.exp(1) / (np.exp(1) + 2)]
    assert said == [(f"dog ({sure[0]:.0%})", "is cat"), (f"cow ({sure[1]:.0%})", "is dog")]
    third = wrong_ones()[0][3].transpose(1, 2, 0)
    shown = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(shown, (third - third.min()) / np.ptp(third))


def test_show_mistakes_takes_probabilities_channels_last_and_grey():
    images, labels, predicted, _ = wrong_ones()
    sure = np.array([[1, 0, 0], [0.3, 0.3, 0.4], [0, 0, 1], [0.1, 0.8, 0.1]])
    pixels = (images.transpose(0, 2, 3, 1)[..., :1] + 7).astype(np.uint8)
    figure = show_mistakes(pixels, labels, predicted, sure, count=1)
    assert [axes.get_title() for axes in figure.axes] == ["1 (80%)"]
    shown = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(shown, pixels[3, ..., 0] / 255)


def test_show_mistakes_says_so_where_there_are_none():
    images, labels, _, scores = wrong_ones()
    (axes,) = show_mistakes(images, labels, labels, scores).axes
    assert axes.texts[0].get_text() == "no mistakes among 4 images"


def test_plot_activations_has_a_panel_for_each_layer(rng):
    x = rng.standard_normal((40, 6))
    figure = plot_activations({"affine": x, "relu": np.maximum(x, 0), "dead": 0 * x}, bins=9)
    zeros = np.mean(x <= 0)
    titles = [axes.get_title() for axes in figure.axes[:3]]
    assert titles[0] == f"affine\nmean {x.mean():.2g}, std {x.std():.2g}"
    assert titles[1].endswith(f"{zeros:.1%} zeros")
    assert titles[2].endswith("100.0% zeros")
    (bars,) = figure.axes[0].patches
    counts, edges = np.histogram(x, 9)
    np.testing.assert_allclose(bars.get_data().values, counts / x.size)
    np.testing.assert_allclose(bars.get_data().edges, edges)


@pytest.fixture
def folder(tmp_path):
    """Return a run folder with a history as the command line writes it."""
    rows = ["iteration,epoch,loss,train_acc,val_acc", "1,0.5,2.5,0.1,0.2", "2,1.0,2.25,0.3,0.4"]
    (tmp_path / "a run").mkdir()
    (tmp_path / "a run" / "history.csv").write_text("\n".join(rows) + "\n3,1.5,nan,,\n")
    return tmp_path / "a run"


def test_compare_runs_reads_run_folders(folder):
    loss, train, val = compare_runs([folder, run(seed=3)]).axes
    np.testing.assert_array_equal(drawn(loss)[0][1], [2.5, 2.25, np.nan])
    np.testing.assert_array_equal(drawn(train)[0], [[0, 1], [0.1, 0.3]])
    np.testing.assert_array_equal(drawn(val)[0], [[0, 1], [0.2, 0.4]])
    (names,) = loss.figure.legends
    assert [t.get_text() for t in names.get_texts()] == [
        "a run (best 40.0%, epoch 1)",
        "run 2 (best 50.0%, epoch 1)",
    ]
    assert drawn(plot_history(str(folder)).axes[1])[1][1].tolist() == [0.2, 0.4]


@pytest.mark.long
def test_neighbours_differ_in_line_style_too():
    lines = compare_runs({f"_{n}": run(20, 2, n) for n in range(8)}).axes[2].lines
    looks = [line.get_linestyle() for line in lines]
    assert all(a != b for a, b in itertools.pairwise(looks))
    figure = compare_runs({"_a": run(), "$b$": run()})
    assert len(figure.legends[0].get_texts()) == 2  # none is hidden, none a formula
    figure._repr_png_()


def test_the_legend_of_the_loss_says_what_dots_and_line_are():
    assert legend(plot_history(run(losses=400)).axes[0]) == [
        "one minibatch",
        "moving average over 21 of them",
    ]
    both = compare_runs({"a": run(losses=400), "b": run(losses=10)}).axes[0]
    assert legend(both)[1] == "moving average over 1 to 21 of them"


def test_first_losses_do_not_decide_the_scale_and_are_told_of():
    history = run(losses=400)
    axes = plot_history(history).axes[0]
    assert axes.get_ylim()[1] > max(history.loss_history)  # these are near the others
    history.loss_history[:3] = [450.0, 80.0, 9.0]
    axes = plot_history(history).axes[0]
    low, high = axes.get_ylim()
    assert high < 3
    assert low < min(history.loss_history)
    assert legend(axes)[-1] == "(losses up to 450 lie above)"


@pytest.mark.long
def test_a_diverging_run_does_not_flatten_the_others():
    runs = {name: run(seed=n) for n, name in enumerate("abc")}
    runs["c"].loss_history = list(np.geomspace(2, 1e9, 200))
    axes = compare_runs(runs).axes[0]
    assert axes.get_ylim()[1] < 6
    assert legend(axes)[-1] == "(losses up to 1e+09 lie above)"
    axes.set_yscale("log")
    axes.figure._repr_png_()


LOSSES = {"falling": np.geomspace(3, 0.1, 80), "rising": np.linspace(1, 3, 80)}
LOSSES |= {"flat": 2.3 + 0.01 * np.cos(np.linspace(0, 3, 80))}


@pytest.mark.parametrize("course", LOSSES.values(), ids=LOSSES)
def test_the_legend_of_the_loss_covers_no_line(course):
    history = run(losses=80)
    history.loss_history = list(course)
    history.val_loss_history, history.accuracy_iterations = [course[0], max(course)], [1, 80]
    if course[-1] < course[0]:
        history.val_loss_history[1] = course[-1]
    figure = plot_history(history)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    box = axes.get_legend().get_window_extent()
    for values in drawn(axes)[1:]:
        assert not box.count_contains(axes.transData.transform(np.transpose(values)))


def test_a_validation_loss_is_drawn_where_it_was_measured(folder):
    history = run()
    history.val_loss_history, history.accuracy_iterations = [3.0, 2.0, 2.5], [1, 100, 200]
    axes = plot_history(history).axes[0]
    np.testing.assert_array_equal(drawn(axes)[2], [[1, 100, 200], [3.0, 2.0, 2.5]])
    assert legend(axes)[2] == "validation"
    text = "loss,train_acc,val_acc,val_loss\n2.5,0.1,0.2,2.75\n2.25,,,\n2,0.3,0.4,2.5\n"
    (folder / "history.csv").write_text(text)
    np.testing.assert_array_equal(drawn(plot_history(folder).axes[0])[2], [[1, 3], [2.75, 2.5]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "has the columns a, b; expected loss, train_acc, val_acc"),
        ("", "has the columns none"),
        ("loss,train_acc,val_acc\nx,1,2\n", "is no table of numbers"),
        ("loss,train_acc,val_acc\n", "the loss_history of 'a run' is empty"),
        (b"\xff\xfe", "is not text in UTF-8"),
    ],
)
def test_a_history_that_is_none_is_refused(content, message, folder):
    data = content if isinstance(content, bytes) else content.encode()
    (folder / "history.csv").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        compare_runs([folder])


def with_losses(losses):
    """Return a run with these losses."""
    return types.SimpleNamespace(
        loss_history=losses, train_acc_history=[0.1, None], val_acc_history=[0.1, 0.2]
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: plot_confusion(np.ones((2, 3))), ValueError, r"matrix has shape \(2, 3\)"),
        (lambda: plot_confusion([[1, -1], [0, 1]]), ValueError, "holds -1; expected counts"),
        (lambda: plot_confusion(np.eye(3), ["a"]), ValueError, "there are 1 class_names; expected"),
        (
            lambda: show_mistakes(np.ones((1, 3, 2, 2)), [0], [5], [[1.0, 2.0]]),
            ValueError,
            "predicted runs from 5 to 5; expected 0 to 1",
        ),
        (
            lambda: show_mistakes(np.ones((1, 3, 2, 2)), [0.5], [1], [[1.0, 2.0]]),
            ValueError,
            r"labels is float64 \(1,\); expected a class number",
        ),
        (
            lambda: show_mistakes(np.ones((2, 3, 2, 2)), [0, 1], [1, 1], [[1.0, 2.0]]),
            ValueError,
            r"scores has shape \(1, 2\); expected \(N, K\) for 2 images",
        ),
        (
            lambda: show_mistakes(np.ones((1, 4, 2, 2)), [0], [1], [[1.0, 2.0]]),
            ValueError,
            "expected 3 channels or 1",
        ),
        (lambda: plot_activations({}), ValueError, "there are no activations"),
        (lambda: plot_activations({"a": [np.nan]}), ValueError, "a is empty, or not all below 1e"),
        (lambda: plot_activations({"a": [1e308, -1e308]}), ValueError, "a is empty, or not all"),
        (lambda: plot_activations({"a": []}), ValueError, "a is empty, or not all below"),
        (lambda: compare_runs("runs"), TypeError, "runs is 'runs'; expected several"),
        (lambda: compare_runs({}), ValueError, "compare_runs: no runs to compare"),
        (lambda: compare_runs([with_losses(None)]), ValueError, "loss_history is None; expected a"),
        (lambda: compare_runs([with_losses("abc")]), TypeError, "loss_history is no list of num"),
        (lambda: compare_runs([with_losses([[1], [2]])]), ValueError, r"loss_history is \[\[1\], "),
        (lambda: compare_runs([3]), TypeError, "compare_runs: a int has no loss_history"),
        (
            lambda: compare_runs(["no/such/run"]),
            FileNotFoundError,
            re.escape("compare_runs: there is no file no/such/run/history.csv"),
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
