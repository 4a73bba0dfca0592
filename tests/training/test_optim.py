"""Update rules: the formulas over several steps, their state, and their compiled twins."""

import copy

import numpy as np
import pytest
from cases import DTYPES
from conftest import assert_close
from rules import by_definition

from cs231n import optim
from cs231n.kernels import fast_optim
from cs231n.optim import RULES, adam, nesterov_momentum, rmsprop, sgd, sgd_momentum

# Every hyperparameter away from its default.
CONFIGS = {
    "sgd": {"learning_rate": 0.1},
    "sgd_momentum": {"learning_rate": 0.1, "momentum": 0.8, "dampening": 0.3},
    "nesterov_momentum": {"learning_rate": 0.1, "momentum": 0.8, "dampening": 0.2},
    "muon": {"learning_rate": 0.1, "momentum": 0.8},
    "rmsprop": {"learning_rate": 0.1, "decay_rate": 0.9, "epsilon": 1e-3},
    "adam": {"learning_rate": 0.1, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3},
}
DEFAULTS = {
    "sgd": {"learning_rate": 1e-2},
    "sgd_momentum": {"learning_rate": 1e-2, "momentum": 0.9, "dampening": 0.0},
    "nesterov_momentum": {"learning_rate": 1e-2, "momentum": 0.9, "dampening": 0.0},
    "muon": {"learning_rate": 2e-2, "momentum": 0.95},
    "rmsprop": {"learning_rate": 1e-2, "decay_rate": 0.99, "epsilon": 1e-8},
    "adam": {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
}
STATE = {
    "sgd": [],
    "sgd_momentum": ["velocity"],
    "nesterov_momentum": ["velocity"],
    "muon": ["velocity"],
    "rmsprop": ["cache"],
    "adam": ["m", "v"],
}
rules = pytest.mark.parametrize("rule", CONFIGS)


@rules
def test_rules_follow_their_definition(rule, rng):
    w, gradients = rng.standard_normal((3, 4)), list(rng.standard_normal((6, 3, 4)))
    expected = by_definition(rule, w, gradients, **CONFIGS[rule])
    config = dict(CONFIGS[rule])
    for dw in gradients:
        w, config = RULES[rule](w, dw, config)
    assert_close(w, expected)


@rules
def test_defaults_are_the_published_ones_and_can_be_read_afterwards(rule, rng):
    w, dw = rng.standard_normal((2, 5))
    next_w, config = RULES[rule](w, dw)
    expected, _ = RULES[rule](w, dw, dict(DEFAULTS[rule]))
    np.testing.assert_array_equal(next_w, expected)
    assert config.items() >= DEFAULTS[rule].items()


@rules
def test_state_is_in_the_dict_that_was_passed(rule, rng):
    w, dw = rng.standard_normal((2, 5))
    passed = dict(CONFIGS[rule])
    _, config = RULES[rule](w, dw, passed)
    assert config is passed
    for name in STATE[rule]:
        assert config[name].shape == w.shape
        assert config[name].any()


def test_state_after_one_step_by_hand():
    w, dw = np.array([1.0, 2.0]), np.array([0.5, -4.0])
    for rule in (sgd_momentum, nesterov_momentum):
        _, config = rule(w, dw, {"learning_rate": 0.25})
        np.testing.assert_array_equal(config["velocity"], [-0.125, 1.0])
    _, config = rmsprop(w, dw, {"decay_rate": 0.75})
    np.testing.assert_array_equal(config["cache"], [0.0625, 4.0])
    _, config = adam(w, dw, {"beta1": 0.75, "beta2": 0.5})
    np.testing.assert_array_equal(config["m"], [0.125, -1.0])
    np.testing.assert_array_equal(config["v"], [0.125, 8.0])
    assert config["t"] == 1


def test_the_first_step_of_adam_has_the_length_of_the_learning_rate(rng):
    w, dw = np.zeros(20), rng.standard_normal(20)
    next_w, _ = adam(w, dw, {"learning_rate": 0.25})
    np.testing.assert_allclose(next_w, -0.25 * np.sign(dw), rtol=1e-5)  # but for epsilon


def test_sgd_by_hand():
    next_w, _ = sgd(np.array([1.0, -2.0]), np.array([4.0, 0.5]), {"learning_rate": 0.5})
    np.testing.assert_array_equal(next_w, [-1.0, -2.25])


@rules
def test_rules_leave_parameter_gradient_and_old_state_alone(rule, rng):
    w, dw = rng.standard_normal((2, 5))
    _, config = RULES[rule](w, dw, dict(CONFIGS[rule]))
    arrays = [w, dw, *(config[name] for name in STATE[rule])]
    copies = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    next_w, _ = RULES[rule](w, dw, config)
    for array, before in zip(arrays, copies):
        np.testing.assert_array_equal(array, before)
    assert not np.shares_memory(next_w, w)


@rules
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_stays_with_numpy_scalars_as_hyperparameters(rule, dtype, backend_name, rng):
    w, dw = rng.standard_normal((2, 5)).astype(dtype)
    scalars = {name: np.float64(value) for name, value in CONFIGS[rule].items()}
    for step in (RULES[rule], twin(rule)):
        config = dict(scalars)
        next_w = w.copy()
        for _ in range(2):
            next_w, config = step(next_w, dw, config)
        assert next_w.dtype == dtype
        assert [config[name].dtype for name in STATE[rule]] == [dtype] * len(STATE[rule])


@rules
def test_a_float64_gradient_leaves_a_float32_parameter(rule, backend_name, rng):
    w, dw = rng.standard_normal(5).astype(np.float32), rng.standard_normal(5)
    for step in (RULES[rule], twin(rule)):
        config = dict(CONFIGS[rule])
        next_w, config = step(w.copy(), dw, config)
        next_w, config = step(next_w, dw, config)
        assert next_w.dtype == np.float32
        assert {config[name].dtype.name for name in STATE[rule]} <= {"float32"}


def test_a_parameter_of_integers_becomes_float64():
    next_w, _ = sgd(np.array([1, 2]), np.array([3, -4]), {"learning_rate": 0.5})
    assert next_w.dtype == np.float64
    np.testing.assert_array_equal(next_w, [-0.5, 4.0])


def test_state_that_is_given_is_used(rng):
    w, dw, velocity = rng.standard_normal((3, 5))
    config = {"learning_rate": 0.1, "momentum": 0.5, "velocity": velocity}
    next_w, _ = sgd_momentum(w, dw, config)
    assert_close(next_w, w + 0.5 * velocity - 0.1 * dw)


def twin(rule):
    """Return the twin that the Solver uses in the form of an update rule."""
    return lambda w, dw, config: (fast_optim.update(rule, w, dw, config), config)


@rules
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(37,), (3, 4, 5), (1,), (0, 3), ()])
def test_twins_agree_with_the_rules_over_several_steps(rule, dtype, shape, backend_name, rng):
    w = rng.standard_normal(shape).astype(dtype)
    fast_w, config, fast_config = w.copy(), dict(CONFIGS[rule]), dict(CONFIGS[rule])
    for _ in range(7):
        dw = rng.standard_normal(shape).astype(dtype)
        w, config = RULES[rule](w, dw, config)
        fast_w = fast_optim.update(rule, fast_w, dw.copy(), fast_config)
        assert fast_w.dtype == dtype
        assert_close(fast_w, w)
    assert fast_config.keys() == config.keys()
    for name in STATE[rule]:
        assert fast_config[name].dtype == dtype
        assert_close(fast_config[name], config[name])
    assert fast_config.get("t") == config.get("t")


@rules
def test_twins_agree_with_default_hyperparameters(rule, backend_name, rng):
    w, dw = rng.standard_normal((2, 50)).astype(np.float32)
    expected, config = RULES[rule](w, dw)
    found = {}
    assert_close(fast_optim.update(rule, w.copy(), dw, found), expected)
    assert found.keys() == config.keys()
    assert found.items() >= DEFAULTS[rule].items()


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "view": lambda array: np.repeat(array, 2, axis=1)[:, ::2],
    "other byte order": lambda array: array.astype(array.dtype.newbyteorder("S")),
    "integers": lambda array: np.rint(array).astype(int),
}


@pytest.mark.sampled(5)
@rules
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("which", ["w", "dw", "state", "all"])
def test_twins_take_arrays_in_any_layout(rule, which, layout, backend_name, rng):
    w, dw, state = rng.standard_normal((3, 4, 5))
    w = layout(w) if which in ("w", "all") else w
    dw = layout(dw) if which in ("dw", "all") else dw

    def config():
        """Return hyperparameters and state of the same numbers, for each update its own."""
        own = [np.abs(layout(state) if which in ("state", "all") else state) for _ in STATE[rule]]
        return {**CONFIGS[rule], **dict(zip(STATE[rule], own))}

    expected, expected_config = RULES[rule](w.copy(), dw, config())
    found_config = config()
    before = np.array(dw)
    assert_close(fast_optim.update(rule, w, dw, found_config), expected)
    np.testing.assert_array_equal(dw, before)
    for name in STATE[rule]:
        assert_close(found_config[name], expected_config[name])


@rules
def test_twins_take_read_only_arrays(rule, backend_name, rng):
    w, dw, state = np.abs(rng.standard_normal((3, 5)))
    config = {**CONFIGS[rule], **{name: state.copy() for name in STATE[rule]}}
    expected, _ = RULES[rule](w, dw, copy.deepcopy(config))
    arrays = [w, dw, *(config[name] for name in STATE[rule])]
    copies = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    assert_close(fast_optim.update(rule, w, dw, config), expected)
    for array, before in zip(arrays, copies):
        np.testing.assert_array_equal(array, before)


def test_twins_take_a_rule_of_the_users_own(backend_name):
    def halve(w, dw, config=None):
        return w / 2, {"steps": config.get("steps", 0) + 1}

    config = {"steps": 4, "left over": 1}
    np.testing.assert_array_equal(fast_optim.update(halve, np.array([4.0]), None, config), [2.0])
    assert config == {"steps": 5}


@pytest.mark.parametrize("dtype", DTYPES)
def test_add_scaled(dtype, backend_name, rng):
    y, x = rng.standard_normal((2, 3, 4)).astype(dtype)
    expected = y + np.asarray(0.3, dtype) * x
    x.flags.writeable = False
    assert_close(fast_optim.add_scaled(y.copy(), 0.3, x), expected)
    assert_close(fast_optim.add_scaled(y.copy(), np.float64(0.3), np.asfortranarray(x)), expected)
    assert_close(fast_optim.add_scaled(np.asfortranarray(y), 0.3, x), expected)
    total = fast_optim.add_scaled(y.copy(), 0.3, x.astype(np.float64))
    assert total.dtype == dtype
    assert_close(total, expected)


@rules
@pytest.mark.parametrize("found", ["rule", "twin"])
class TestErrors:
    def step(self, rule, found, w, dw, config):
        return (RULES[rule] if found == "rule" else twin(rule))(w, dw, config)

    def test_a_gradient_of_another_shape(self, rule, found, backend_name):
        with pytest.raises(ValueError, match=rf"{rule}: dw has shape \(2,\); expected \(3,\)"):
            self.step(rule, found, np.ones(3), np.ones(2), {})

    def test_a_hyperparameter_that_is_no_number(self, rule, found, backend_name):
        with pytest.raises(TypeError, match=rf"{rule}: learning_rate is '0.1' \(str\)"):
            self.step(rule, found, np.ones(3), np.ones(3), {"learning_rate": "0.1"})

    def test_state_of_another_shape(self, rule, found, backend_name):
        for name in STATE[rule]:
            with pytest.raises(
                ValueError, match=rf"{rule}: {name} has shape \(2,\); expected \(3,"
            ):
                self.step(rule, found, np.ones(3), np.ones(3), {name: np.ones(2)})

    def test_float16(self, rule, found, backend_name):
        half = np.ones(3, np.float16)
        with pytest.raises(TypeError, match=rf"{rule}: w has dtype float16; expected float32"):
            self.step(rule, found, half, half, {})


def test_adam_refuses_a_step_count_that_is_no_integer(backend_name):
    for step in (adam, twin("adam")):
        with pytest.raises(TypeError, match=r"adam: t is 1.5 \(float\); expected an integer >= 0"):
            step(np.ones(3), np.ones(3), {"t": 1.5})


def test_a_config_that_is_no_dict_is_refused():
    with pytest.raises(TypeError, match=r"sgd: config is a float; expected a dict of options"):
        sgd(np.ones(3), np.ones(3), 1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adagrad_sums_squares_up(dtype, rng):
    w = rng.standard_normal((4, 3)).astype(dtype)
    gradients = rng.standard_normal((5, 4, 3)).astype(dtype)
    config = {"learning_rate": 0.1}
    next_w = w
    for count in range(1, 6):
        expected = next_w - 0.1 * gradients[count - 1] / np.linalg.norm(gradients[:count], axis=0)
        next_w, config = optim.adagrad(next_w, gradients[count - 1], config)
        assert next_w.dtype == config["cache"].dtype == dtype
        np.testing.assert_allclose(next_w, expected, rtol=1e-5 if dtype == np.float32 else 1e-6)
    assert config["epsilon"] == 1e-8


def test_adagrad_agrees_with_pytorch(rng):
    torch = pytest.importorskip("torch")
    w = rng.standard_normal((4, 3))
    theirs = torch.tensor(w, requires_grad=True)
    step = torch.optim.Adagrad([theirs], lr=0.05, eps=1e-8)
    config = {"learning_rate": 0.05}
    for dw in rng.standard_normal((6, 4, 3)):
        theirs.grad = torch.tensor(dw)
        step.step()
        w, config = optim.adagrad(w, dw, config)
    np.testing.assert_allclose(w, theirs.detach().numpy(), rtol=1e-10)


def test_a_rule_that_is_put_into_optim_is_found_by_its_name(monkeypatch):
    def mine(w, dw, config=None):
        return w - dw, config

    monkeypatch.setattr(optim, "mine", mine, raising=False)
    monkeypatch.setattr(optim, "sgd", mine)
    monkeypatch.setitem(optim.RULES, "listed", mine)
    for name in ("mine", "sgd", "listed"):
        assert optim.find("f", name) is mine
    assert optim.find("f", "adam") == "adam"
    assert optim.find("f", mine) is mine


@pytest.mark.parametrize("name", ["state", "clip_gradients", "checks", "np", "RULES", "_x", "", 3])
def test_what_is_no_rule_is_not_found_in_optim(name):
    with pytest.raises(ValueError, match=r"f: unknown update rule .*; known rules: adam,"):
        optim.find("f", name)


def test_rules_are_listed_by_name():
    assert RULES == {rule: getattr(optim, rule) for rule in (*CONFIGS, "adagrad")}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_are_clipped_together(dtype, rng):
    grads = {"a": rng.standard_normal((3, 4)).astype(dtype), "b": np.full(2, 1e25, dtype)}
    before = {name: dw.copy() for name, dw in grads.items()}
    clipped = optim.clip_gradients(grads, 2.0)
    norm = np.linalg.norm(np.concatenate([dw.ravel() for dw in clipped.values()]))
    assert norm == pytest.approx(2.0, rel=1e-6)
    for name, dw in clipped.items():
        assert dw.dtype == dtype
        np.testing.assert_array_equal(grads[name], before[name])
    np.testing.assert_allclose(clipped["b"], 2 / np.sqrt(2), rtol=1e-6)
    small = {"a": grads["a"]}
    assert optim.clip_gradients(small, 100.0)["a"] is grads["a"]


@pytest.mark.parametrize("max_norm", [0, -1, "x"])
def test_a_norm_to_clip_at_is_positive(max_norm):
    with pytest.raises((ValueError, TypeError), match="clip_gradients: max_norm is"):
        optim.clip_gradients({}, max_norm)


@pytest.mark.parametrize("shape", [(5, 7), (7, 5), (6, 6)])
def test_muon_brings_the_singular_values_to_those_of_its_polynomial(shape, rng):
    left, right = (np.linalg.qr(rng.standard_normal((n, n)))[0] for n in shape)
    k = min(shape)
    values = np.linspace(1, 4, k)  # well conditioned
    step = optim.orthogonalised(left[:, :k] * values @ right[:, :k].T)
    # Own derivation: matrices with these singular vectors are multiplied like numbers.
    expected = values / np.linalg.norm(values)
    for _ in range(5):
        expected = 3.4445 * expected - 4.7750 * expected**3 + 2.0315 * expected**5
    np.testing.assert_allclose(
        left[:, :k].T @ step @ right[:, :k], np.diag(expected), rtol=1e-6, atol=1e-6
    )
    u, _, v = np.linalg.svd(left[:, :k] * values @ right[:, :k].T, full_matrices=False)
    assert np.abs(np.linalg.svd(step, compute_uv=False) - 1).max() < 0.33
    assert np.linalg.norm(step - u @ v) < 0.33 * np.sqrt(k)  # the orthogonal matrix nearest to it


def test_muon_by_hand(rng):
    w, first, second = rng.standard_normal((3, 6, 2, 3))
    w1, config = optim.muon(w, first, {"learning_rate": 0.5, "momentum": 0.25})
    w2, config = optim.muon(w1, second, config)
    velocity = 0.25 * first + second
    assert_close(config["velocity"], velocity)
    G = (second + 0.25 * velocity).reshape(6, 6)
    assert_close(w2, w1 - 0.5 * optim.orthogonalised(G).reshape(w.shape))
    tall, _ = optim.muon(w.reshape(18, 2), first.reshape(18, 2), {"learning_rate": 0.5})
    step = optim.orthogonalised(1.95 * first.reshape(18, 2))
    assert_close(tall, w.reshape(18, 2) - 0.5 * 3 * step)


def test_muon_steps_vectors_by_nesterov_momentum(rng):
    w, first, second = rng.standard_normal((3, 5))
    found, expected = w, w
    config, other = {"learning_rate": 0.1, "momentum": 0.8}, {"learning_rate": 0.1, "momentum": 0.8}
    for dw in (first, second):
        found, config = optim.muon(found, dw, config)
        expected, other = nesterov_momentum(expected, dw, other)
    assert_close(found, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_muon_takes_zeros_and_numbers_of_any_size(dtype):
    w = np.ones((3, 4), dtype)
    np.testing.assert_array_equal(optim.muon(w, np.zeros((3, 4), dtype))[0], w)
    np.testing.assert_array_equal(optim.muon(w[:0], w[:0])[0], w[:0])
    huge, _ = optim.muon(w, np.eye(3, 4, dtype=dtype) * np.dtype(dtype).type(1e30))
    assert np.isfinite(huge).all()
    assert huge.dtype == dtype


SHARES, BETAS = ("momentum", "decay_rate", "dampening"), ("beta1", "beta2")


@rules
@pytest.mark.parametrize("value", [-1.0, 2.0, np.inf, -np.inf, np.nan])
def test_hyperparameters_beyond_their_ranges_are_refused(rule, value, backend_name):
    ranges = {**dict.fromkeys(SHARES, r"\[0, 1\]"), **dict.fromkeys(BETAS, r"\[0, 1\)")}
    ranges |= {"epsilon": r"\[0, inf\)", "learning_rate": r"\(-inf, inf\)"}
    for name in DEFAULTS[rule]:
        if np.isfinite(value) and (name == "learning_rate" or (name == "epsilon" and value > 0)):
            continue
        for step in (RULES[rule], twin(rule)):
            message = f"{rule}: {name} is {value}; expected a number in {ranges[name]}$"
            with pytest.raises(ValueError, match=message):
                step(np.ones((2, 2)), np.ones((2, 2)), {name: value})


@rules
def test_the_ends_of_the_ranges(rule, backend_name):
    w = np.ones((2, 2))
    zeros = dict.fromkeys(DEFAULTS[rule], 0)
    for step in (RULES[rule], twin(rule)):
        np.testing.assert_array_equal(step(w.copy(), w, dict(zeros))[0], w)
        for name in {*SHARES} & DEFAULTS[rule].keys():
            assert np.isfinite(step(w.copy(), w, {name: 1})[0]).all()
        for name in {*BETAS} & DEFAULTS[rule].keys():
            with pytest.raises(ValueError, match=rf"{rule}: {name} is 1.0; expected .*\[0, 1\)"):
                step(w.copy(), w, {name: 1})
