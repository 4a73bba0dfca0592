"""Random draws of a user's functions go on where they were, wherever their generator stands."""

import functools
import random
import types

import numpy as np
import pytest
from test_resume import assert_goes_on, images, network, stopped

from cs231n.solver import Solver
from cs231n.training import checkpoint, generators

module_rng = np.random.default_rng(0)
module_legacy = np.random.RandomState(0)
module_python = random.Random(0)
settings = {"strength": [0.1, {"rng": module_rng}]}


def from_a_global(X):
    """Add noise from a generator of this module."""
    return X + 0.1 * module_rng.standard_normal(X.shape)


def from_a_global_of_another_kind(X):
    """Add noise from two older kinds of generators of this module."""
    return X + 0.1 * module_legacy.randn(*X.shape) + module_python.random()


def from_a_helper(X):
    """Add noise from a generator that another function names."""
    return from_a_global(X)


def from_a_dict(X):
    """Add noise from a generator deep in a global dict."""
    return X + settings["strength"][0] * settings["strength"][1]["rng"].random()


def from_python(X):
    """Add noise from Python's own generator."""
    return X + 0.1 * random.gauss(0, 1)


def inside(X):
    """Add noise from a generator that only a function inside names."""
    return np.stack([(lambda x: x + module_rng.random())(x) for x in X])


def numpys(X):
    """Add noise from NumPy's global generator."""
    return X + np.random.rand()


library = types.ModuleType("noises")  # a module of the user's, which is no package
library.inner = types.ModuleType("noises.inner")
library.rng = np.random.default_rng(0)
library.inner.rng = np.random.default_rng(1)


def from_a_module(X):
    """Add noise from generators in another module and in one inside it."""
    return X + 0.1 * library.rng.random() + 0.1 * library.inner.rng.random()


class Noise:
    """Adds noise from generators in attributes, its own, its helper's and its class's."""

    shared = np.random.default_rng(0)

    def __init__(self):
        self.generator = np.random.default_rng(1)
        self.helper = Helper()

    def __call__(self, X):
        """Return noisy images."""
        return self.method(X)

    def method(self, X):
        """Return noisy images."""
        noise = self.generator.random() + self.helper.source.random() + self.shared.random()
        return X + 0.1 * noise

    def __repr__(self):
        return "Noise()"


class Helper:
    """Holds a generator in a slot."""

    __slots__ = ("source",)

    def __init__(self):
        self.source = np.random.default_rng(2)

    def __repr__(self):
        return "Helper()"


class Fixed(Noise):
    """Has one text for all, and draws through what it is bound to."""

    def bound(self, X):
        """Return noisy images."""
        return self.method(X)


AUGMENTATIONS = {
    "global": lambda: from_a_global,
    "older kinds": lambda: from_a_global_of_another_kind,
    "helper": lambda: from_a_helper,
    "module": lambda: from_a_module,
    "dict": lambda: from_a_dict,
    "python": lambda: from_python,
    "inside": lambda: inside,
    "numpy": lambda: numpys,
    "attributes": Noise,
    "bound method": lambda: Fixed().bound,
    "partial of a bound method": lambda: functools.partial(Fixed().bound),
}


@pytest.mark.sampled(5)
@pytest.mark.parametrize("make", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_draws_of_an_augmentation_go_on(make, tmp_path):
    def arguments():
        for rng in (module_rng, Noise.shared, library.rng, library.inner.rng):
            rng.bit_generator.state = np.random.default_rng(3).bit_generator.state
        module_legacy.seed(4)
        module_python.seed(5)
        random.seed(6)
        return {"augment": make()}

    def again(given):
        module_rng.random()
        Noise.shared.random()
        library.rng.random()
        library.inner.rng.random()
        module_legacy.rand()
        module_python.random()
        random.random()
        return {"augment": make()}

    assert_goes_on(network, arguments, tmp_path, again=again)


def test_draws_of_a_model_of_ones_own_go_on(tmp_path):
    def make():
        model = network()
        model.noise, loss = np.random.default_rng(5), model.loss
        model.loss = lambda X, y=None, **k: loss(
            X if y is None else X + model.noise.random(), y, **k
        )
        return model

    assert_goes_on(make, dict, tmp_path)


def fresh(X):
    """Add noise from a generator that begins anew at each call."""
    return X + np.random.default_rng().random()


def fed(source):
    """Return an augmentation that takes its noise from an iterator."""
    return lambda X: X + next(source)


def drawn():
    """Yield random numbers."""
    while True:
        yield 0.1


@pytest.mark.parametrize("augment", [fresh, fed(drawn())], ids=["fresh", "iterator"])
def test_what_cannot_be_kept_is_told_once_with_the_first_checkpoint(augment, tmp_path, capsys):
    stopped(tmp_path, augment=augment, checkpoint_every=1)
    told = capsys.readouterr().err
    assert told.count("no checkpoint can keep that") == 1
    assert told.startswith("Solver: augment ")


@pytest.mark.long
def test_nothing_is_told_where_everything_is_kept(tmp_path, capsys):
    for number, make in enumerate(AUGMENTATIONS.values()):
        (tmp_path / str(number)).mkdir()
        stopped(tmp_path / str(number), augment=make(), checkpoint_every=1)
    assert capsys.readouterr().err == ""


WRONG = {
    "MT19937": [
        (("pos",), 10**6),
        (("pos",), 700),
        (("pos",), -(10**6)),
        (("pos",), 1.0),
        (("key",), np.zeros(624, np.uint32)),
        (("key",), np.ones(623, np.uint32)),
        (("key",), np.ones(624, np.int64)),
    ],
    "PCG64": [(("inc",), 2**128), (("state",), -1), (("state",), np.ones(3))],
    "PCG64DXSM": [(("inc",), "1")],
    "Philox": [(("key",), np.ones(3, np.uint64)), (("counter",), 5)],
    "SFC64": [(("state",), np.ones(3, np.uint64)), (("state",), np.ones(4))],
}
SPARE = [("has_uint32", 2), ("uinteger", 2**32), ("uinteger", -1)]
BUFFER = [("buffer_pos", 5), ("buffer_pos", -1), ("buffer_pos", 10**6), ("buffer", np.ones(4))]
STATES = [
    *((kind, ("state", *place), value) for kind, rows in WRONG.items() for place, value in rows),
    *((kind, (key,), value) for kind in ("PCG64", "Philox", "SFC64") for key, value in SPARE),
    *(("Philox", (key,), value) for key, value in BUFFER),
    *(("global", ("state", *place), value) for place, value in WRONG["MT19937"]),
    *(("global", (key,), value) for key, value in [("has_gauss", 7), ("gauss", float("nan"))]),
    *(("global", (key,), value) for key, value in [("gauss", "1"), ("has_gauss", 10**400)]),
]


@pytest.mark.sampled(7)
@pytest.mark.parametrize(("kind", "place", "value"), STATES, ids=lambda item: str(item)[:30])
def test_a_state_that_no_generator_has_been_in_is_refused(kind, place, value, tmp_path):
    known = "PCG64" if kind == "global" else kind
    rng = np.random.Generator(getattr(np.random, known)(5))
    path = stopped(tmp_path, rng=rng)
    tree = checkpoint.load(path)
    here = tree["generators"]["global" if kind == "global" else "solver"]
    for key in place[:-1]:
        here = here[key]
    here[place[-1]] = value
    checkpoint.save(path, tree)
    model = network()
    np.random.seed(1)
    with pytest.raises(ValueError, match=r"Solver\.resume: the state of the random draws of"):
        Solver.resume(path, model, images())
    after = np.random.rand()
    np.random.seed(1)
    assert after == np.random.rand()


def test_states_of_all_kinds_come_back():
    for kind in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"):
        rng = generators.new(kind)
        sources = generators.find(rng, {"augment": from_python}, network())
        before = generators.states(sources)
        draws = rng.random(7), np.random.randn(3), random.gauss(0, 1)
        generators.set_states(sources, before)
        for found, expected in zip((rng.random(7), np.random.randn(3)), draws):
            np.testing.assert_array_equal(found, expected)
        assert random.gauss(0, 1) == draws[2]


def test_a_checkpoint_from_before_these_sources_were_kept_still_loads(tmp_path, capsys):
    path = stopped(tmp_path, augment=from_a_global)
    tree = checkpoint.load(path)
    for place in (tree["generators"], tree["configuration"]["generators"]):
        del place["augment"]
    del tree["run"]
    checkpoint.save(tmp_path / "old", tree)
    capsys.readouterr()
    Solver.resume(tmp_path / "old", network(), images(), augment=from_a_global)
    assert "older" in capsys.readouterr().err


def test_a_model_may_have_no_options_of_dropout():
    found = generators.find(None, {}, types.SimpleNamespace(dropout_param=None))
    assert [name for name, _ in found.kept] == ["global"]
