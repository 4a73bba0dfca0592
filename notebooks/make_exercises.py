"""Make the exercises: the layers with empty bodies, the checks that judge them, folded solutions.

python notebooks/make_exercises.py      writes notebooks/exercises/ anew

Explanations come from the notebooks, signatures, docstrings and solutions from `cs231n/layers.py`:
nothing is written twice.
"""

from __future__ import annotations

import ast
import builtins
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

HERE = Path(__file__).resolve().parent
TARGET = HERE / "exercises"
LAYERS = HERE.parent / "cs231n" / "layers.py"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
MARK = "    # Your code: replace the next line.\n"

START = """\
%load_ext autoreload
%autoreload 2
import sys

sys.path.append("../..")  # where the package of this checkout lies, if it was not installed

import numpy as np

from cs231n import notebook
from cs231n.gradient_check import check_layer, rel_error


def judge(forward, backward, *arrays, options=()):
    report = check_layer(forward, backward, *arrays, options=options)
    print(report)
    notebook.reach(f"{forward.__name__}, gradients that agree", float(report.ok), 1)
"""


class Task(NamedTuple):
    """What the reader writes, under which heading of the notebook, with what help and judge."""

    functions: tuple[str, ...]
    heading: str
    hint: str
    checks: str


EXERCISES = {
    "FullyConnectedNets": [
        Task(
            ("affine_forward", "affine_backward"),
            "## The layers",
            "Flatten each sample with `x.reshape(len(x), -1)` first, and give `dx` the shape of `x`"
            " at the end. Which product of `dout`, `w` and the rows has the shape of each"
            " gradient?",
            """\
x = np.linspace(-0.1, 0.5, num=2 * 4 * 5 * 6).reshape(2, 4, 5, 6)
w, b = np.linspace(-0.2, 0.3, num=120 * 3).reshape(120, 3), np.linspace(-0.3, 0.1, num=3)
known = [[1.49834967, 1.70660132, 1.91485297], [3.25553199, 3.5141327, 3.77273342]]
notebook.check("affine, known answer", rel_error(affine_forward(x, w, b)[0], known), 1e-8)

np.random.seed(231)
x, w, b = np.random.randn(10, 2, 3), np.random.randn(6, 5), np.random.randn(5)
judge(affine_forward, affine_backward, x, w, b)""",
        ),
        Task(
            ("relu_forward", "relu_backward"),
            "",
            "`np.maximum` compares entry by entry. The cache need not hold more than `x`, for the"
            " slope is 1 where `x > 0` and 0 elsewhere.",
            """\
x = np.linspace(-0.5, 0.5, num=12).reshape(3, 4)
known = [[0, 0, 0, 0], [0, 0, 1 / 22, 3 / 22], [5 / 22, 7 / 22, 9 / 22, 1 / 2]]
notebook.check("relu, known answer", rel_error(relu_forward(x)[0], known), 1e-12)
np.random.seed(231)
judge(relu_forward, relu_backward, np.random.randn(10, 10))""",
        ),
        Task(
            ("softmax_loss",),
            "",
            "Subtract each row's largest score first: it changes no probability, and `np.exp`"
            " cannot overflow. The gradient is what the network says minus what it should say,"
            " divided by N. (`label_smoothing` may wait: begin with 0.)",
            """\
np.random.seed(231)
x, y = 0.001 * np.random.randn(50, 10), np.random.randint(10, size=50)
loss, _ = softmax_loss(x, y)
notebook.check("loss of small scores, from ln 10", abs(loss - np.log(10)), 1e-3)
x = np.log([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]) + 7
loss, _ = softmax_loss(x, np.array([0, 1]))
notebook.check("loss, known answer", rel_error(loss, np.log(20) / 2), 1e-10)
judge(softmax_loss, None, np.random.randn(6, 4), options=(np.array([0, 1, 3, 3, 2, 0]),))
loss, _ = softmax_loss(np.array([[1000.0, 0.0]]), np.array([1]))
notebook.check("a score of 1000", rel_error(loss, 1000.0), 1e-10)""",
        ),
    ],
    "BatchNormalization": [
        Task(
            ("batchnorm_forward", "batchnorm_backward"),
            "## Forward, in training",
            "Keep in the cache what the backward pass needs: the normalised values, gamma, the"
            " deviation and the mode. `bn_param` is a dict: read `mode`, `eps`, `momentum` and the"
            " running statistics from it (zeros where there are none), and put the new ones back."
            " In the backward pass, walk the graph node by node and add where two arrows meet.",
            """\
np.random.seed(231)
x, gamma, beta = 5 * np.random.randn(200, 3) + 12, np.array([1.0, 2.0, 3.0]), np.arange(3.0)
out, _ = batchnorm_forward(x, gamma, beta, {"mode": "train"})
notebook.check("means", rel_error(out.mean(axis=0)[1:], beta[1:]), 1e-10)
notebook.check("deviations", rel_error(out.std(axis=0), gamma), 1e-6)
bn_param = {"mode": "train"}
for _ in range(50):
    batchnorm_forward(5 * np.random.randn(200, 3) + 12, gamma, beta, bn_param)
bn_param["mode"] = "test"
out, _ = batchnorm_forward(x, gamma, beta, bn_param)
notebook.check("deviations at test time", rel_error(out.std(axis=0), gamma), 0.1)
x, gamma, beta = np.random.randn(7, 5), np.random.randn(5), np.random.randn(5)
judge(batchnorm_forward, batchnorm_backward, x, gamma, beta, options=({"mode": "train"},))""",
        ),
    ],
    "Dropout": [
        Task(
            ("dropout_forward", "dropout_backward"),
            "## The forward pass",
            "`p` is the probability of keeping a unit. Draw the mask with"
            " `np.random.rand(*x.shape) < p`, after `np.random.seed(dropout_param['seed'])` where"
            " there is a seed, and divide by `p`; at test time nothing happens.",
            """\
np.random.seed(231)
x = np.random.randn(500, 500) + 10
for p in (0.25, 0.4, 0.7):
    trained, _ = dropout_forward(x, {"mode": "train", "p": p})
    tested, _ = dropout_forward(x, {"mode": "test", "p": p})
    notebook.check(f"p = {p}: mean in training", rel_error(trained.mean(), x.mean()), 5e-3)
    notebook.check(f"p = {p}: share of zeros", abs((trained == 0).mean() - (1 - p)), 5e-3)
    notebook.check(f"p = {p}: test output", rel_error(tested, x), 0)
options = ({"mode": "train", "p": 0.4, "seed": 123},)
judge(dropout_forward, dropout_backward, np.random.randn(10, 10) + 10, options=options)""",
        ),
    ],
    "ConvolutionalNetworks": [
        Task(
            ("conv_forward_naive", "conv_backward_naive"),
            "## Convolution",
            "Pad with `np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))`. Four loops do: over"
            " images, filters, and places. In the backward pass the same loops add"
            " `dout[n, f, i, j]` times the window to the filter, and times the filter to the"
            " window; cut the padding off at the end.",
            """\
x = np.linspace(-0.1, 0.5, num=2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
w = np.linspace(-0.2, 0.3, num=3 * 3 * 4 * 4).reshape(3, 3, 4, 4)
out, _ = conv_forward_naive(x, w, np.linspace(-0.1, 0.2, num=3), {"stride": 2, "pad": 1})
known = [[-0.08759809, -0.10987781], [-0.18387192, -0.2109216]]
notebook.check("convolution, known answer", rel_error(out[0, 0], known), 1e-7)
np.random.seed(231)
x, b = np.random.randn(2, 3, 5, 6), np.random.randn(2)
for shape, stride in (((2, 3, 3, 3), 1), ((2, 3, 3, 2), 2)):
    judge(
        conv_forward_naive,
        conv_backward_naive,
        *(x, np.random.randn(*shape), b),
        options=({"stride": stride, "pad": 1},),
    )""",
        ),
        Task(
            ("max_pool_forward_naive", "max_pool_backward_naive"),
            "## Max pooling",
            "`np.argmax` of a window gives a flat index, and the first one of a tie;"
            " `np.unravel_index` makes a row and a column of it. Windows may overlap: add.",
            """\
np.random.seed(231)
x = np.linspace(-0.3, 0.4, num=2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}
out, _ = max_pool_forward_naive(x, pool_param)
notebook.check("max pooling, known answer", rel_error(out, x[:, :, 1::2, 1::2]), 0)
x = np.random.randn(2, 2, 6, 7)
for stride in (2, 1):
    options = ({"pool_height": 2, "pool_width": 3, "stride": stride},)
    judge(max_pool_forward_naive, max_pool_backward_naive, x, options=options)""",
        ),
    ],
}


def main() -> None:
    """Write the exercises."""
    TARGET.mkdir(exist_ok=True)
    for name in EXERCISES:
        (TARGET / f"{name}.ipynb").write_text(text_of(build(name)), encoding="utf-8")


def text_of(notebook: Any) -> str:
    """Return a notebook as it stands in its file."""
    return nbformat.writes(notebook) + "\n"


@functools.cache
def build(name: str) -> Any:
    """Return an exercise as a notebook that was never run."""
    cells = list(_cells(name))
    for number, cell in enumerate(cells, start=1):
        cell["id"] = f"cell-{number:02}"
    metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    return new_notebook(cells=cells, metadata=metadata)


def _cells(name: str) -> Iterator[Any]:
    """Yield the cells of an exercise."""
    yield new_markdown_cell(
        f"# Exercises: {name}\n\nWrite the bodies of the layers. The cell below each judges it,"
        f" and says what is wrong; hints and solutions are folded. What you need to know stands in"
        f" the notebook [{name}](../{name}.ipynb)."
    )
    yield new_code_cell(START.rstrip())
    texts = [cell.source for cell in nbformat.read(HERE / f"{name}.ipynb", 4).cells]
    for task in EXERCISES[name]:
        title = " and ".join(f"`{function}`" for function in task.functions)
        about = next((text for text in texts if task.heading and text.startswith(task.heading)), "")
        yield new_markdown_cell(f"{about}\n\n## To write: {title}".strip())
        for function in task.functions:
            yield new_code_cell(empty(function))
        yield new_code_cell(task.checks)
        yield new_markdown_cell(folded("Hint", task.hint))
        text = "\n\n\n".join(solution(function) for function in task.functions)
        yield new_markdown_cell(folded("Solution", f"```python\n{text}\n```"))


def folded(title: str, text: str) -> str:
    """Return a text that unfolds when its title is clicked."""
    return f"<details>\n<summary>{title}</summary>\n\n{text}\n\n</details>"


def empty(function: str) -> str:
    """Return signature and docstring of a layer, and a line that says that its body is missing."""
    node, _ = _definition(function)
    docstring = _without_notes(ast.get_docstring(node) or "")
    lines = [f"    {line}".rstrip() for line in docstring.splitlines()]
    quoted = '    """' + "\n".join(lines).lstrip() + '\n    """'
    todo = f'    raise NotImplementedError("{function} has no body yet")'
    return f"{_signature(node)}\n{quoted}\n{MARK}{todo}"


def solution(function: str) -> str:
    """Return a layer as it stands in `cs231n.layers`, without annotations and docstring."""
    node, lines = _definition(function)
    body = lines[node.body[1].lineno - 1 : node.end_lineno]
    needed = sorted(_used_in(node) - _bound(node) - set(vars(builtins)) - {"np"})
    imports = f"from cs231n.layers import {', '.join(needed)}\n\n\n" if needed else ""
    return imports + "\n".join([_signature(node), *body])


def _used_in(node: ast.FunctionDef) -> set[str]:
    """Return the names that the statements of a function use."""
    return {n.id for part in node.body for n in ast.walk(part) if isinstance(n, ast.Name)}


def _bound(node: ast.FunctionDef) -> set[str]:
    """Return the names that a function binds: its arguments, and what it assigns."""
    stored = {
        n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    return stored | {one.arg for one in node.args.args}


def _definition(function: str) -> tuple[ast.FunctionDef, list[str]]:
    """Return the definition of a layer, and the lines of its file."""
    text, tree = _source()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return node, text.splitlines()
    raise ValueError(f"there is no {function} in {LAYERS.name}")


@functools.cache
def _source() -> tuple[str, ast.Module]:
    """Return the text of the layers, and its syntax tree."""
    text = LAYERS.read_text(encoding="utf-8")
    return text, ast.parse(text)


def _signature(node: ast.FunctionDef) -> str:
    """Return the first line of a function, without annotations."""
    for one in node.args.args:
        one.annotation = None
    return f"def {node.name}({ast.unparse(node.args)}):"


def _without_notes(docstring: str) -> str:
    """Return a docstring without the sections that say how it is done."""
    return docstring.split("\nNotes\n---")[0].split("\nReferences\n---")[0].rstrip()


if __name__ == "__main__":
    main()
