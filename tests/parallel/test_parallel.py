"""Training over ranks that are threads: equal to one process, whatever the rule and the shares."""

import threading

import numpy as np
import pytest
from conftest import assert_close
from thread_ranks import run_ranks

from cs231n import optim
from cs231n.augment import FlipAndShift
from cs231n.classifiers import ConvNet, FullyConnectedNet
from cs231n.kernels import threads
from cs231n.layer_utils import SPATIAL_BATCHNORM, SPATIAL_BATCHNORM_GELU
from cs231n.parallel.gradients import Buckets
from cs231n.parallel.layers import Share, shared
from cs231n.parallel.ranks import RankError, Ranks
from cs231n.schedules import cosine
from cs231n.solver import DivergedError, Solver


@pytest.fixture(autouse=True)
def _threads(monkeypatch):
    """Put the number of kernel threads back, which ranks of one machine share."""
    monkeypatch.setattr(threads, "_num_threads", threads._num_threads)


def make_data(shape=(6,), N=50):
    rng = np.random.default_rng(5)
    y = rng.integers(3, size=N + 21)
    X = rng.standard_normal((N + 21, *shape)) + y.reshape(-1, *(1,) * len(shape))
    return {"X_train": X[:N], "y_train": y[:N], "X_val": X[N:], "y_val": y[N:]}


def plain(**changes):
    return FullyConnectedNet(
        [8, 7],
        6,
        3,
        reg=0.05,
        dtype=float,
        weight_scale=0.3,
        rng=np.random.default_rng(1),
        **changes,
    )


def convnet(**changes):
    settings = {"dtype": float, "reg": 0.01, "rng": np.random.default_rng(1), **changes}
    return ConvNet("conv4-conv4-pool-fc6-fc3", input_dim=(2, 6, 6), **settings)


def solver(communicator, make=plain, data=None, **changes):
    settings = {
        "optim_config": {"learning_rate": 0.01},
        "batch_size": 10,
        "num_epochs": 2,
        "verbose": False,
        "rng": np.random.default_rng(2),
        **changes,
    }
    data = make_data() if data is None else data
    return Solver(make(), data, communicator=communicator, **settings)


def trained(size, *arguments, **changes):
    """Return the solvers of all ranks after training, or the one of a process alone."""

    def run(communicator):
        found = solver(communicator, *arguments, **changes)
        found.train()
        return found

    if size is None:
        return run(None)
    results = run_ranks(size, run)
    for one in results:
        if isinstance(one, BaseException):
            raise one
    return results


def assert_same_run(found, expected, tolerance=1e-9):
    np.testing.assert_allclose(found.loss_history[0], expected.loss_history[0], rtol=1e-12)
    np.testing.assert_allclose(found.loss_history, expected.loss_history, rtol=tolerance)
    assert found.val_acc_history == expected.val_acc_history
    assert found.train_acc_history == expected.train_acc_history
    for name, w in expected.model.params.items():
        # Before a batch norm the gradient of a bias is zero, and what is computed is rounding.
        assert_close(found.model.params[name], w, looser=tolerance / 1e-11, scale=1)


EVERYTHING = {"clip_norm": 0.05, "weight_decay": 0.1, "schedule": cosine}


@pytest.mark.sampled(7)
@pytest.mark.parametrize(
    ("size", "others"),
    [(2, EVERYTHING), (3, {}), (3, EVERYTHING), (4, EVERYTHING)],
    ids=["2 with everything", "3 alone", "3 with everything", "4 with everything"],
)
@pytest.mark.parametrize("rule", sorted(optim.RULES))
def test_every_rule_makes_the_steps_of_one_process(rule, size, others):
    """A hundred steps; a batch of ten has uneven shares on three and four ranks."""
    changes = {"update_rule": rule, "optim_config": {"learning_rate": 1e-3}, **others}
    changes["data"] = make_data(N=500)
    expected = trained(None, **changes)
    assert len(expected.loss_history) == 100
    assert expected.loss_history[-1] != expected.loss_history[0]
    for found in trained(size, **changes):
        assert_same_run(found, expected)


def speedrun():
    """Return a small network of the kind of the speed-run's: frozen filters and scales, GELU."""
    return ConvNet(
        "whiten2-conv6p-conv6-fc3/9",
        input_dim=(2, 6, 6),
        normalization="batchnorm",
        activation="gelu",
        learn_scale=False,
        dtype=float,
        rng=np.random.default_rng(1),
    )


def at_odd_addresses():
    """Return a network whose parameters lie where a file's header has ended, say."""
    model = plain(normalization="batchnorm")
    for name, w in model.params.items():
        model.params[name] = np.frombuffer(bytearray(w.nbytes + 1), np.uint8)[1:].view(w.dtype)
        model.params[name] = model.params[name].reshape(w.shape)
        model.params[name][...] = w
    return model


def resnet():
    """Return a small network with a residual block and leaky relus."""
    description = {"normalization": "batchnorm", "activation": "leaky_relu"}
    source = {"dtype": float, "rng": np.random.default_rng(1)}
    return ConvNet("res(conv4-conv4)-gavg-fc3", input_dim=(2, 6, 6), **description, **source)


CASES = {
    "clipping": {"clip_norm": 0.1},
    "weight decay": {"weight_decay": 0.1},
    "schedule": {"schedule": cosine, "lr_decay": 0.9},
    "groups and lookahead": {
        "average": "lookahead",
        "average_config": {"every": 3},
        "groups": {"b*": {"rate": 2, "weight_decay": 0.1}, "W1": {"until": 0.5}},
    },
    "every sample": {"replace": False, "batch_size": 12},  # the last batch has two: empty shares
    "augmentation": {},
    "dropout": {"make": lambda: plain(dropout_keep_ratio=0.6)},
    "layer norm": {"make": lambda: plain(normalization="layernorm")},
    "batch norm": {"make": lambda: plain(normalization="batchnorm")},
    "batch norm of numbers at odd addresses": {"make": at_odd_addresses},
    "batch norm, some shares empty": {
        "make": lambda: plain(normalization="batchnorm"),
        **{"replace": False, "batch_size": 12},
    },
    "convnet": {"make": convnet},
    "convnet with batch norm": {"make": lambda: convnet(normalization="batchnorm")},
    "the speed-run's network": {"make": speedrun},
    "residual blocks": {"make": resnet},
    "convnet with group norm and dropout": {
        "make": lambda: convnet(normalization="groupnorm", num_groups=2, dropout_keep_ratio=0.7)
    },
    "batch norm and the other form of gelu": {
        "make": lambda: convnet(normalization="batchnorm", activation="gelu_tanh")
    },
}


@pytest.mark.sampled(5)
@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_option_makes_the_steps_of_one_process(case, size):
    changes = {"update_rule": "nesterov_momentum", **case}
    make = changes.pop("make", plain)
    is_image = make is not plain and isinstance(make(), ConvNet)
    data = make_data((2, 6, 6)) if is_image or not case else None
    if not case:
        make = convnet

    def run(communicator):
        own = FlipAndShift(pad=1, rng=np.random.default_rng(3)) if not case else None
        found = solver(communicator, make, data, augment=own, **changes)
        found.train()
        return found

    expected = run(None)
    for found in run_ranks(size, run):
        if isinstance(found, BaseException):
            raise found
        assert_same_run(found, expected, tolerance=1e-10)
        assert found.gradient_norm == pytest.approx(expected.gradient_norm, nan_ok=True)
        for mine, theirs in zip(found.model.bn_params, expected.model.bn_params):
            for name in ("running_mean", "running_var"):
                if name in theirs:
                    assert_close(mine[name], theirs[name])


@pytest.mark.parametrize("dtypes", ["ffd", "fdf", "dff", "fff"])
def test_statistics_over_ranks_are_as_wide_as_those_of_one_process(dtypes, rng):
    x, gamma, mean = (
        rng.standard_normal(shape).astype(dtype)
        for shape, dtype in zip([(3, 2, 4, 4), 2, 2], dtypes, strict=True)
    )
    params = [{"mode": "train", "running_mean": mean, "running_var": mean**2} for _ in range(2)]

    def run(communicator):
        share = Share(Ranks(communicator), slice(0, 3), 3)
        stage = shared(SPATIAL_BATCHNORM, (), share, lambda name, dw: None, statistics=True)
        return stage.run(x, [gamma, gamma, params[0]])

    (found,) = run_ranks(1, run)
    assert not isinstance(found, BaseException), found
    SPATIAL_BATCHNORM.forward(x, gamma, gamma, params[1])
    for name in ("running_mean", "running_var"):
        assert params[0][name].dtype == params[1][name].dtype
        assert_close(params[0][name].astype("f"), params[1][name].astype("f"))


def test_one_rank_draws_a_progress_bar():
    ranks = run_ranks(2, lambda communicator: solver(communicator, progress=True))
    assert [rank.progress for rank in ranks] == [True, False]


def test_an_unknown_form_of_gelu_is_refused_before_anything_changes():
    param = {"mode": "train"}

    def run(communicator):
        share = Share(Ranks(communicator), slice(0, 3), 3)
        stage = shared(SPATIAL_BATCHNORM_GELU, (), share, lambda name, dw: None, statistics=True)
        stage.run(np.ones((3, 2, 4, 4)), [np.ones(2), np.zeros(2), param, "tahn"])

    (error,) = run_ranks(1, run)
    assert str(error) == "bn_gelu: form is 'tahn'; expected 'exact' or 'tanh'"
    assert param == {"mode": "train"}


def test_statistics_per_rank_are_those_of_its_share():
    def make():
        return plain(normalization="batchnorm")

    first, second = trained(2, make, sync_statistics=False)
    alone = solver(None, make)
    X, y, _ = alone._minibatch()
    halves = [alone.model.loss(X[rows], y[rows])[0] for rows in (slice(5), slice(5, 10))]
    np.testing.assert_allclose(first.loss_history[0], np.mean(halves), rtol=1e-12)
    assert abs(first.loss_history[0] / make().loss(X, y)[0] - 1) > 1e-6
    assert first.loss_history == second.loss_history
    assert first.val_acc_history == second.val_acc_history


def test_ranks_share_the_processors_of_their_machine(monkeypatch):
    monkeypatch.setattr(threads, "_is_chosen", False)
    monkeypatch.setattr(Ranks, "neighbours", lambda self: (2, 6))
    trained(2, num_epochs=1)
    assert threads.get_num_threads() == 3
    monkeypatch.setattr(threads, "_is_chosen", True)
    threads.share_processors(1, 6)
    assert threads.get_num_threads() == 3


def test_ranks_of_other_machines_are_no_neighbours(monkeypatch):
    def place(self):
        return ("one", [0, 1]) if self.rank < 2 else ("other", [self.rank])

    monkeypatch.setattr(Ranks, "_place", place)
    found = run_ranks(5, lambda communicator: Ranks(communicator).neighbours())
    assert found == [(2, 2), (2, 2), (3, 3), (3, 3), (3, 3)]


def test_a_model_of_the_users_is_averaged_too():
    class Linear:
        def __init__(self):
            self.params = {"W": np.full((6, 3), 0.1), "b": np.zeros(3)}

        def loss(self, X, y=None):
            scores = X @ self.params["W"] + self.params["b"]
            if y is None:
                return scores
            wrong = scores - np.eye(3)[y]
            dscores = 2 * wrong / len(X)
            grads = {"b": dscores.sum(axis=0), "W": X.T @ dscores}
            return (wrong**2).sum() / len(X), grads

    expected = trained(None, Linear, replace=False, batch_size=12)
    for found in trained(3, Linear, replace=False, batch_size=12):
        assert_same_run(found, expected)


def test_the_same_ranks_give_the_same_bits():
    runs = [trained(3, convnet, make_data((2, 6, 6)))[0] for _ in range(2)]
    assert runs[0].loss_history == runs[1].loss_history
    for name, w in runs[0].model.params.items():
        np.testing.assert_array_equal(w, runs[1].model.params[name])


def test_sums_are_in_the_order_of_the_ranks():
    """1 + 1e16 - 1e16 has another result than 1e16 - 1e16 + 1."""
    terms = [1e16, 1.0, -1e16]

    def run(communicator):
        buckets = Buckets(Ranks(communicator), 1.0, capacity=24)
        for name in "abc":
            buckets.add(name, np.full((2, 1), terms[communicator.Get_rank()]))
        return buckets.sums()

    for found in run_ranks(3, run):
        assert set(found) == set("abc")
        for array in found.values():
            np.testing.assert_array_equal(array, np.full((2, 1), 1e16 + 1.0 - 1e16))


def test_gradients_leave_while_the_backward_pass_goes_on(monkeypatch):
    ended, sent = set(), []
    original, send = FullyConnectedNet.backward, Buckets._send

    def backward(self, dscores, caches, need_dx=False):
        result = original(self, dscores, caches, need_dx)
        ended.add(threading.get_ident())
        return result

    def sending(self):
        sent.append((threading.get_ident(), threading.get_ident() in ended))
        send(self)

    monkeypatch.setattr(FullyConnectedNet, "backward", backward)
    monkeypatch.setattr(Buckets, "_send", sending)
    monkeypatch.setattr(Buckets.__init__, "__defaults__", (200,))
    trained(2, num_epochs=1, batch_size=50)
    before = [rank for rank, is_after in sent if not is_after]
    assert len(ended) == 2
    assert set(before) == ended


def test_a_checkpoint_goes_on_with_any_number_of_ranks(tmp_path):
    expected = trained(None, num_epochs=4)
    name = str(tmp_path / "run")
    trained(2, num_epochs=2, checkpoint_name=name)

    def resume(communicator):
        others = {"communicator": communicator, "rng": np.random.default_rng(9)}
        found = Solver.resume(name, plain(), make_data(), num_epochs=4, **others)
        found.train()
        return found

    same = trained(3, num_epochs=4)[0]
    (alone, *_), three = run_ranks(1, resume), run_ranks(3, resume)
    assert len({tuple(one.loss_history) for one in three}) == 1
    assert_same_run(three[0], expected)
    assert_same_run(same, expected)
    assert len(alone.loss_history) == len(expected.loss_history)


def test_a_run_of_two_ranks_goes_on_bit_for_bit(tmp_path):
    expected = trained(2, num_epochs=4)[0]
    name = str(tmp_path / "run")
    trained(2, num_epochs=2, checkpoint_name=name)

    def resume(communicator):
        found = Solver.resume(name, plain(), make_data(), num_epochs=4, communicator=communicator)
        found.train()
        return found

    for found in run_ranks(2, resume):
        assert found.loss_history == expected.loss_history
        for key, w in expected.model.params.items():
            np.testing.assert_array_equal(found.model.params[key], w)


def test_a_checkpoint_that_is_missing_is_an_error_of_all(tmp_path):
    def resume(communicator):
        return Solver.resume(tmp_path / "none", plain(), make_data(), communicator=communicator)

    first, second = run_ranks(2, resume)
    assert isinstance(first, FileNotFoundError)
    assert isinstance(second, RankError)
    assert "rank 0 of 2: FileNotFoundError" in str(second)


@pytest.mark.parametrize("error", [ValueError("no good"), KeyboardInterrupt()])
@pytest.mark.parametrize("size", [2, 3])
def test_an_error_on_one_rank_ends_all(error, size):
    def run(communicator):
        found = solver(communicator)

        def fail(solver):
            if solver.epoch == 1 and communicator.Get_rank() == 1:
                raise error

        found.on_check = fail
        found.train()

    results = run_ranks(size, run)
    assert results[1] is error
    for rank in {*range(size)} - {1}:
        assert isinstance(results[rank], RankError)
        assert str(results[rank]).startswith(f"rank 1 of {size}: {type(error).__name__}: ")


def test_a_loss_that_diverges_does_so_on_all_ranks():
    changes = {"optim_config": {"learning_rate": 1e200}, "on_divergence": "raise"}

    def run(communicator):
        with np.errstate(all="ignore"):  # each thread has its own
            solver(communicator, **changes).train()

    results = run_ranks(2, run)
    assert [type(error) for error in results] == [DivergedError] * 2


def with_pixel(data, rank):
    data["X_train"][17, 3] += 1e-3 * rank
    return data


DIFFERENT = {
    "data": (lambda rank: {"data": with_pixel(make_data(), rank)}, "X_train"),
    "labels": (lambda rank: {"data": {**make_data(), "y_val": np.full(21, rank)}}, "y_val"),
    "networks": (
        lambda rank: {"make": lambda: plain(normalization="layernorm" if rank else None)},
        "network",
    ),
    "parameters": (lambda rank: {"make": lambda: shifted(rank)}, "parameters"),
    "draws": (lambda rank: {"rng": np.random.default_rng(rank)}, "random draws"),
    "arguments": (lambda rank: {"weight_decay": 0.1 * rank}, "weight_decay"),
}


def shifted(rank):
    model = plain()
    model.params["b1"] += rank
    return model


@pytest.mark.parametrize(("make", "name"), DIFFERENT.values(), ids=DIFFERENT)
def test_ranks_that_differ_are_refused(make, name):
    results = run_ranks(2, lambda one: solver(one, **make(one.Get_rank())).train())
    for error in results:
        assert isinstance(error, ValueError)
        assert "Solver: the ranks differ" in str(error)
        assert name in str(error)


def test_other_versions_are_refused(monkeypatch):
    def run(communicator):
        found = solver(communicator)
        if communicator.Get_rank():
            versions = found._versions()
            monkeypatch.setattr(found, "_versions", lambda: {**versions, "numpy": "1.0"})
        found.train()

    results = run_ranks(2, run)
    assert all("numpy is 1.0 on rank 1" in str(error) for error in results)


def test_shares_are_even_and_complete():
    for size in (1, 2, 3, 5):
        for count in (0, 1, 2, 7, 100):
            shares = run_ranks(size, lambda one, count=count: Ranks(one).share(count))
            found = [index for share in shares for index in range(count)[share]]
            assert found == list(range(count))
            lengths = [share.stop - share.start for share in shares]
            assert max(lengths) - min(lengths) <= 1


def test_only_the_first_rank_prints_and_writes(tmp_path, capsys):
    trained(3, verbose=True, num_epochs=1, checkpoint_name=str(tmp_path / "one"))
    out = capsys.readouterr().out
    assert out.count("(Epoch 1 / 1)") == 1
    assert {path.name for path in tmp_path.glob("*.npz")} == {"one.npz", "one.previous.npz"}


def test_what_is_no_communicator_is_refused():
    with pytest.raises(TypeError, match="communicator is a"):
        solver(3)
