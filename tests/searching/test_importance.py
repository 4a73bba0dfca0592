"""How much each number matters, as the picture has it."""

import math

import pytest

from cs231n.searching.pictures import importance

optuna = pytest.importorskip("optuna")

# Twelve trials of a search on the built-in data: weight scale, learning rate, accuracy.
TRIALS = [
    (0.003349, 0.0105, 0.119),
    (0.01709, 2.129e-05, 0.337),
    (0.003867, 1.975e-05, 0.315),
    (0.005756, 0.001553, 0.615),
    (0.001847, 7.068e-05, 0.554),
    (0.04614, 0.01513, 0.1),
    (0.04298, 0.0007473, 0.511),
    (0.02484, 9.553e-05, 0.333),
    (0.02053, 0.09575, 0.1),
    (0.02084, 0.0001103, 0.344),
    (0.0452, 9.116e-05, 0.305),
    (0.005702, 3.215e-05, 0.46),
]


def test_few_trials_tell_that_the_learning_rate_matters_most():
    """Optuna's tenth of twelve trials, which is two of them, said so of the weight scale."""
    spread = optuna.distributions.FloatDistribution
    ranges = {
        "weight_scale": spread(1e-3, 1e-1, log=True),
        "learning_rate": spread(1e-5, 1e-1, log=True),
    }
    study = optuna.create_study(direction="maximize")
    for scale, rate, accuracy in TRIALS:
        params = {"weight_scale": scale, "learning_rate": rate}
        made = optuna.trial.create_trial(params=params, distributions=ranges, value=accuracy)
        study.add_trial(made)
    (axes,) = importance(study).axes
    shares = dict(zip([text.get_text() for text in axes.get_yticklabels()], axes.patches))
    assert math.isclose(sum(bar.get_width() for bar in shares.values()), 1)
    assert shares["learning_rate"].get_width() > 0.5
