"""What objects say of themselves, in text and in notebooks."""

from html.parser import HTMLParser

import numpy as np
from runs import images, network

from cs231n.augment import FlipAndShift
from cs231n.callbacks import CSVLog, EarlyStopping, LiveCurves, UpdateRatios
from cs231n.checking.check_layer import check_layer
from cs231n.classifiers import ConvNet
from cs231n.data_utils import Normalization, get_builtin_data
from cs231n.layers import relu_backward, relu_forward
from cs231n.solver import Solver


class Cells(HTMLParser):
    """Collects the texts of cells and list items, and sees to it that all tags are closed."""

    def __init__(self, html):
        super().__init__()
        self.open, self.texts = [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        """Open a tag."""
        self.open.append(tag)

    def handle_endtag(self, tag):
        """Close it."""
        assert self.open.pop() == tag

    def handle_data(self, data):
        """Collect a text."""
        self.texts.append(data)


def test_a_network_shows_its_summary_as_a_table():
    model = ConvNet("conv4-pool-fc3", input_dim=(3, 8, 8))
    texts = Cells(model._repr_html_()).texts
    assert texts[:3] == ["ConvNet", "layer", "output shape"]
    rows = [line.split("  ") for line in model.summary().splitlines()[2:-3]]
    for row in rows:
        for cell in filter(None, (cell.strip() for cell in row)):
            assert cell in texts
    assert "total" in texts
    assert texts[-1].startswith("float32, one sample")


def test_what_a_network_is_called_is_escaped():
    model = ConvNet("conv4-pool-fc3", input_dim=(3, 8, 8))
    model.__class__ = type("<b>&", (ConvNet,), {})
    assert "&lt;b&gt;&amp;" in model._repr_html_()
    assert "<b>&<" not in model._repr_html_()


def test_check_layer_shows_its_findings():
    x = np.array([[1.0, -2.0], [0.0, 3.0]])
    good = Cells(check_layer(relu_forward, relu_backward, x)._repr_html_()).texts
    assert good[0].endswith("the gradients agree")
    assert good[3] == "x"
    assert any("lies on a kink" in text for text in good)

    def wrong(dout, cache):
        return 1.01 * relu_backward(dout, cache)

    report = check_layer(relu_forward, wrong, x, names=["<x>"])
    assert "FAILED" in Cells(report._repr_html_()).texts[0]
    assert "<x>" not in report._repr_html_()


def test_everything_says_what_it_is():
    model = network(None, 1.0)
    solver = Solver(model, images(), "adam", batch_size=8, num_epochs=2, verbose=False)
    assert repr(model) == (
        "FullyConnectedNet(32 -> 3 classes: affine, relu, affine, relu, affine;"
        " 351 parameters, float64)"
    )
    assert repr(solver) == (
        "Solver(FullyConnectedNet on 50 samples (2, 4, 4), adam, batch size 8, epoch 0 of 2,"
        " 0 iterations)"
    )
    solver.train()
    assert f"epoch 2 of 2, 12 iterations, best val_acc {solver.best_val_acc:.4f})" in repr(solver)
    assert repr(EarlyStopping(3)).startswith("EarlyStopping(patience=3, monitor='val_acc'")
    assert repr(CSVLog("a.csv")) == "CSVLog(path='a.csv', every=1)"
    assert repr(LiveCurves()) == "LiveCurves(seconds=5.0)"
    assert repr(UpdateRatios(2)) == "UpdateRatios(every=2, samples=100, bins=50)"
    assert repr(FlipAndShift()) == "FlipAndShift(flip=True, pad=4, mode='reflect')"
    assert repr(Normalization()) == "Normalization(nothing, white=255)"
    assert repr(get_builtin_data(20, 10, 10)).startswith("Dataset(20 train, 10 val, 10 test images")
