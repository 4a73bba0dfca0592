"""What a cluster would give: a model of a step's time, and steps over links that are slowed down.

    python benchmarks/cluster.py                   # the model, for 2 to 1,024 ranks, three links
    python benchmarks/cluster.py --links 10 30 100 # and measured steps; Linux, root, mpi4py

A step takes the longer of its arithmetic, which the ranks share, and its communication: each rank
sends a part of its gradients to every other one, adds up what it gets, and sends the sum to all.
Measured are two ranks in network namespaces of their own, with nothing but a link between them
whose rate the system holds down; a third namespace has `mpiexec`, over a link of its own.  On a
machine that does other work too, arithmetic is counted in processor time, and of the steps that are
measured the shortest is told.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scale import ARCHITECTURE, count_waiting, make_data

from cs231n import fast_layers
from cs231n.classifiers import ConvNet, FullyConnectedNet, Network
from cs231n.parallel.gradients import BUCKET_BYTES
from cs231n.parallel.ranks import Ranks
from cs231n.solver import Solver

HERE = Path(__file__).resolve()
SIZES = tuple(2**power for power in range(1, 11))
BATCH = 1024  # images of all ranks together: the largest job has one each


class Link(NamedTuple):
    """Bits in a second, and seconds that a message takes however short it is."""

    rate: float
    latency: float


LINKS = {
    "1 Gbit/s": Link(1e9, 50e-6),
    "10 Gbit/s": Link(10e9, 20e-6),
    "100 Gbit/s": Link(100e9, 5e-6),
}
NETWORKS = {
    "deep": (f"{ARCHITECTURE} with batch norm", 4),
    "wide": ("fully connected, 512-256-128", 0),
}
_DATA = "10.231.9"  # of the link between the ranks
_CONTROL = "10.231"  # of those to mpiexec


def make_network(name: str) -> Network:
    """Return a network to train."""
    if name == "deep":
        return ConvNet(ARCHITECTURE, normalization="batchnorm")
    return FullyConnectedNet([512, 256, 128], reg=1e-3)


@functools.lru_cache
def gradient_bytes(name: str) -> int:
    """Return the bytes of all gradients of a network."""
    return sum(w.nbytes for w in make_network(name).params.values())


def communication(name: str, ranks: int, link: Link) -> float:
    """Return the seconds of communication in a step, as the model has them.

    Each rank sends and gets ``2 (R - 1) / R`` times the gradients, in ``2 (R - 1)`` messages for
    each bucket, and ``R - 1`` short ones for each batch norm, forward and backward.
    """
    size = gradient_bytes(name)
    buckets, norms = math.ceil(size / BUCKET_BYTES), NETWORKS[name][1]
    transport = 2 * (ranks - 1) / ranks * size * 8 / link.rate
    return transport + 2 * (buckets + norms) * (ranks - 1) * link.latency


def time_steps(name: str, batch: int, steps: int, communicator: Any) -> dict[str, float]:
    """Return seconds of the shortest step on one thread, those in it that wait, and arithmetic."""
    fast_layers.set_num_threads(1)
    np.random.seed(231)
    rule = {"learning_rate": 1e-3}
    settings = {"batch_size": batch, "verbose": False, "communicator": communicator}
    solver = Solver(make_network(name), make_data(), "adam", rule, **settings)
    waited, times = count_waiting(Ranks), []
    with solver._over_ranks():
        for _ in range(steps + 2):
            before, worked, start = waited[0], time.process_time(), time.perf_counter()
            solver._step()
            seconds, work = time.perf_counter() - start, time.process_time() - worked
            times.append((seconds, waited[0] - before, work))
    step, waiting, _ = min(times[2:])
    return {"step": step, "waiting": waiting, "work": min(work for *_, work in times[2:])}


def print_model(name: str) -> None:
    """Print a table of step times and where they bend."""
    image = time_steps(name, 128, 8, None)["work"] / 128
    size = gradient_bytes(name)
    print(f"\n{NETWORKS[name][0]}: {size / 1e6:.2f} MB of gradients, {1e3 * image:.3f} ms an image")
    print("| ranks | arithmetic | " + " | ".join(LINKS) + " |\n|" + "---|" * (2 + len(LINKS)))
    for ranks in SIZES:
        own = BATCH / ranks * image
        steps = [max(own, communication(name, ranks, link)) for link in LINKS.values()]
        cells = [f"{1e3 * step:.2f}{'' if step == own else ' *'}" for step in steps]
        print(f"| {ranks} | {1e3 * own:.2f} | " + " | ".join(cells) + " |")
    print("bends after", ", ".join(f"{bend(name, image, one)} on {one}" for one in LINKS))


def bend(name: str, image: float, link: str) -> int:
    """Return the most ranks at which a step is as short as its arithmetic."""
    counts = range(1, SIZES[-1] + 1)
    fits = [n for n in counts if communication(name, n, LINKS[link]) <= BATCH / n * image]
    return max(fits)


# What runs in a network namespace that ends with it: two more for the ranks, their links, the job.
_SETUP = """
set -e
ip link set lo up
for i in 0 1; do
    ip netns add rank$i
    ip link add control$i type veth peer name job$i
    ip link set job$i netns rank$i
    ip addr add {control}.$((i + 1)).1/24 dev control$i
    ip link set control$i up
    ip -n rank$i link set lo up
    ip -n rank$i addr add {control}.$((i + 1)).2/24 dev job$i
    ip -n rank$i link set job$i up
    ip -n rank$i route add default via {control}.$((i + 1)).1
done
ip link add data0 type veth peer name data1
for i in 0 1; do
    ip link set data$i netns rank$i
    ip -n rank$i addr add {data}.$((i + 1))/24 dev data$i
    ip -n rank$i link set data$i up
    ip netns exec rank$i tc qdisc add dev data$i root tbf rate {rate}mbit burst 64kb latency 4s
done
trap 'ip netns del rank0; ip netns del rank1' EXIT
"$@"
"""


def measure(name: str, megabits: float, batch: int, steps: int) -> dict[str, float]:
    """Return what two ranks take over a link of this rate."""
    setup = _SETUP.format(control=_CONTROL, data=_DATA, rate=megabits)
    part = [sys.executable, str(HERE), "--part", name, str(batch), "--steps", str(steps)]
    inside = 'exec ip netns exec rank$OMPI_COMM_WORLD_RANK "$@"'
    mpiexec = [str(Path(sys.executable).with_name("mpiexec")), "-n", "2", "--oversubscribe"]
    job = [*mpiexec, "--bind-to", "none", "bash", "-c", inside, "bash", *part]
    environment = {
        **os.environ,
        "OPENBLAS_NUM_THREADS": "1",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        # Messages by TCP over the slow link, although both ranks are on one machine.
        "OMPI_MCA_pml": "ob1",
        "OMPI_MCA_btl": "self,tcp",
        "OMPI_MCA_btl_tcp_if_include": f"{_DATA}.0/24",
        "PMIX_MCA_ptl_base_if_include": f"{_CONTROL}.1.0/24",
        "PMIX_MCA_ptl_base_remote_connections": "1",
        "PMIX_MCA_gds": "hash",
    }
    words = ["unshare", "--net", "--mount", "bash", "-c", setup, "bash", *job]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise SystemExit(f"the ranks did not run:\n{done.stdout}{done.stderr}")
    return json.loads(lines[0])


def print_measured(name: str, links: list[float], batch: int, steps: int) -> None:
    """Print measured steps of two ranks beside those of the model."""
    own_step = time_steps(name, batch // 2, steps, None)["work"]
    print(f"\n{NETWORKS[name][0]}, batch {batch} on two ranks; arithmetic {1e3 * own_step:.1f} ms")
    print("| Mbit/s | communication by the model | model | measured | of which waiting |")
    print("|---|---|---|---|---|")
    for megabits in links:
        moved = communication(name, 2, Link(megabits * 1e6, 50e-6))
        found = measure(name, megabits, batch, steps)
        cells = (moved, max(own_step, moved), found["step"], found["waiting"])
        print(f"| {megabits:g} | " + " | ".join(f"{1e3 * one:.1f} ms" for one in cells) + " |")


def main() -> None:
    """Run the part of a rank, or the model and what is measured."""
    parser = argparse.ArgumentParser(description="A model of training on a cluster, and a check.")
    parser.add_argument("--links", type=float, nargs="+", help="Mbit/s of links to measure over")
    parser.add_argument("--steps", type=int, default=20, help="measured steps")
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part is not None:
        from cs231n.parallel.mpi import world

        found = time_steps(options.part[0], int(options.part[1]), options.steps, world())
        if world().Get_rank() == 0:
            print(json.dumps(found), flush=True)
        return
    for name in NETWORKS:
        print_model(name)
        if options.links is not None:
            print_measured(name, options.links, 64, options.steps)


if __name__ == "__main__":
    main()
