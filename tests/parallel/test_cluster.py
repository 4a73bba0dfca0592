"""The model of a cluster: its bytes are those that ranks send, and it bends where it says."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from thread_ranks import ThreadCommunicator, run_ranks

from cs231n.parallel.gradients import whole_loss
from cs231n.parallel.ranks import Ranks


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    yield importlib.import_module("cluster")
    for name in ("cluster", "scale"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("size", [2, 3])
def test_the_model_has_the_bytes_that_are_sent(size, cluster, monkeypatch):
    """A rank's own part of an exchange stays at home; what it distributes goes to all others."""
    sent = [0.0] * size

    def counted(name, part):
        original = getattr(ThreadCommunicator, name)

        def send(self, array, found):
            sent[self.Get_rank()] += array.nbytes * part
            return original(self, array, found)

        monkeypatch.setattr(ThreadCommunicator, name, send)

    counted("Ialltoall", (size - 1) / size)
    counted("Iallgather", size - 1)
    X, y = np.ones((size, 3, 32, 32), np.float32), np.zeros(size, int)

    def run(communicator):
        ranks, model = Ranks(communicator), cluster.make_network("wide")
        share = ranks.share(size)
        whole_loss(ranks, model, X[share], y[share], size, {}, True)

    assert run_ranks(size, run) == [None] * size
    expected = cluster.communication("wide", size, cluster.Link(rate=8, latency=0))
    np.testing.assert_allclose(sent, expected, rtol=1e-3)


def test_a_step_bends_where_communication_takes_longer(cluster):
    for link in cluster.LINKS:
        most = cluster.bend("deep", 1e-3, link)
        times = [cluster.communication("deep", n, cluster.LINKS[link]) for n in (most, most + 1)]
        assert times[0] <= cluster.BATCH / most * 1e-3
        assert times[1] > cluster.BATCH / (most + 1) * 1e-3
    assert cluster.bend("deep", 1e-3, "1 Gbit/s") < cluster.bend("deep", 1e-3, "100 Gbit/s")
