"""The kill test in short; `make torture` runs the long one."""

import os

import pytest
import torture


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_run_that_is_killed_again_and_again_ends_as_if_nothing_had_happened(capfd):
    tally = torture.torture(kills=6, seed=1, cases=("adam",))
    assert tally["kills"] >= 6
    assert tally["wrong runs"] == 0
    assert "equal in every bit" in capfd.readouterr().out


def test_a_run_that_ends_otherwise_is_noticed(monkeypatch, capfd):
    monkeypatch.setattr(torture, "torment", lambda case, seed, *rest: wrong(case, seed, rest[-1]))
    assert torture.torture(kills=1)["wrong runs"] == 1
    assert "differs in params W1" in capfd.readouterr().out


def wrong(case, seed, tally):
    """Return an outcome with one wrong number."""
    tally["kills"] += 1
    return {**torture.undisturbed(case, seed), "params W1": "another"}
