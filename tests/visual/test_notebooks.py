"""The notebooks as they are stored, and the script that executes them."""

import ast
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
FOLDER = TOP / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LONGEST = 10  # lines of a function in a cell: the package computes


@pytest.fixture(params=NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def stored(request):
    """Return a notebook as a dict."""
    return json.loads(request.param.read_text(encoding="utf-8"))


def code_cells(stored):
    """Return the cells that hold a program."""
    return [cell for cell in stored["cells"] if cell["cell_type"] == "code"]


def outputs(stored):
    """Return all outputs in order."""
    return [output for cell in code_cells(stored) for output in cell["outputs"]]


def printed(stored):
    """Return what was printed."""
    texts = [output["text"] for output in outputs(stored) if output["output_type"] == "stream"]
    return "".join("".join(text) for text in texts)


def program(cell):
    """Return a cell's syntax tree, without the lines that are IPython's."""
    lines = "".join(cell["source"]).splitlines()
    return ast.parse("\n".join(line for line in lines if not line.startswith(("%", "!"))))


def test_what_notebooks_import_is_there(stored):
    imports = [
        node
        for cell in code_cells(stored)
        for node in ast.walk(program(cell))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cs231n")
    ]
    assert imports
    for node in imports:
        home = importlib.import_module(node.module)
        for name in node.names:
            module = f"{node.module}.{name.name}"
            assert hasattr(home, name.name) or importlib.util.find_spec(module), module


def test_notebooks_are_stored_as_they_ran_from_top_to_bottom(stored):
    counts = [cell["execution_count"] for cell in code_cells(stored)]
    assert counts == list(range(1, len(counts) + 1))
    assert outputs(stored)


def test_no_output_is_an_error_or_a_warning(stored):
    assert all(output["output_type"] != "error" for output in outputs(stored))
    assert all(output.get("name") != "stderr" for output in outputs(stored))


def test_notebooks_tell_the_machine_and_the_time(stored):
    lines = printed(stored).splitlines()
    for fact in ("machine", "system", "numpy", "cs231n", "threads"):
        assert any(line.startswith(f"{fact} ") for line in lines)
    assert any(line.startswith("whole notebook: ") and line.endswith(" s") for line in lines)


def test_notebooks_run_on_any_python_3_kernel(stored):
    assert stored["metadata"]["kernelspec"]["name"] == "python3"
    assert set(stored["metadata"]) == {"kernelspec", "language_info"}
    assert (stored["nbformat"], stored["nbformat_minor"]) == (4, 5)


def test_functions_in_cells_are_short(stored):
    for cell in code_cells(stored):
        for node in ast.walk(program(cell)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert node.end_lineno - node.lineno < LONGEST, node.name


def test_rel_error_is_the_package_s(stored):
    defined = [
        node.name
        for cell in code_cells(stored)
        for node in ast.walk(program(cell))
        if isinstance(node, ast.FunctionDef)
    ]
    assert "rel_error" not in defined


def test_glyphs_are_not_mirrored(stored):
    for cell in code_cells(stored):
        tree = program(cell)
        asked = [node for node in ast.walk(tree) if "has_glyphs" in condition(node)]
        allowed = {inner for node in asked for inner in ast.walk(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "mirrored_scores":
                assert node in allowed
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "FlipAndShift":
                (flip,) = (word.value for word in node.keywords if word.arg == "flip")
                assert ast.unparse(flip) in ("not notebook.has_glyphs()", "False")


def test_pictures_without_ticks_have_no_frames(stored):
    for cell in code_cells(stored):
        for node in ast.walk(program(cell)):
            words = {word.arg: ast.unparse(word.value) for word in getattr(node, "keywords", [])}
            if words.get("xticks") == "[]":
                assert words.get("frame_on") == "False", ast.unparse(node)


def test_saliency_maps_and_fooling_images_stand_beside_images_that_may_be_shown():
    notebook = json.loads((FOLDER / "NetworkVisualization.ipynb").read_text(encoding="utf-8"))
    shows = ["".join(cell["source"]) for cell in code_cells(notebook)]
    shows = [text for text in shows if "chosen" in text]
    assert len(shows) == 3  # maps, fooling image, maps of the hardened network
    assert all("pixels(" in text and "X_shown[chosen" in text for text in shows)
    assert not any("X_test[chosen" in text for text in shows)
    assert "the built-in glyphs (not CIFAR-10), whose pictures may be passed on" in printed(
        notebook
    )


def condition(node):
    """Return what an if statement asks, as text."""
    return ast.unparse(node.test) if isinstance(node, ast.If) else ""


def test_notebooks_name_no_folder_of_the_machine_they_ran_on(stored):
    text = json.dumps([cell["source"] for cell in stored["cells"]]) + printed(stored)
    assert not any(folder in text for folder in ("/home/", "/tmp/", "/root/", "C:\\"))
    # Any other absolute path, of POSIX or Windows, that is not the end of an address.
    assert re.findall(r"(?<![\w.:/<~)}$\]])/\w[\w.-]+/\w[\w.-]*|\b[A-Z]:\\+\w+", text) == []


def write(path, *sources):
    """Write a notebook of these cells that was never run."""
    cells = [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": f"cell-{index}",
            "metadata": {"tags": ["x"]},
            "outputs": [],
            "source": source,
        }
        for index, source in enumerate(sources)
    ]
    content = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def run(*words, **environment):
    """Execute notebooks as the command line does."""
    command = [sys.executable, FOLDER / "run.py", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120
    )


needs_nbclient = pytest.mark.skipif(
    not (importlib.util.find_spec("nbclient") and importlib.util.find_spec("ipykernel")),
    reason="needs nbclient and ipykernel: pip install '.[execute]'",
)


@pytest.mark.long
@needs_nbclient
def test_in_place_stores_the_outputs(tmp_path):
    path = write(tmp_path / "good.ipynb", "x = 6\nprint(7 * x)", "x + 1")
    done = run("--in-place", path, CS231N_SHORT="1", MPLBACKEND="agg")
    assert done.returncode == 0, done.stdout + done.stderr
    stored = json.loads(path.read_text())
    assert printed(stored) == "42\n"
    assert [cell["execution_count"] for cell in stored["cells"]] == [1, 2]
    assert stored["metadata"]["kernelspec"]["name"] == "python3"
    assert all(cell["metadata"] == {} for cell in stored["cells"])


@pytest.mark.long
@needs_nbclient
def test_the_short_mode_sets_the_environment_and_stores_nothing(tmp_path):
    look = (
        "import os\n"
        "assert os.environ['CS231N_SHORT'] == '1'\n"
        "assert 'CS231N_DATA' not in os.environ\n"
        "assert os.environ.get('MPLBACKEND') != 'agg'"
    )
    path = write(tmp_path / "short.ipynb", look)
    before = path.read_text()
    done = run("--short", path, CS231N_DATA=str(tmp_path), MPLBACKEND="agg")
    assert done.returncode == 0, done.stdout + done.stderr
    assert path.read_text() == before


@pytest.mark.long
@needs_nbclient
def test_exceptions_and_warnings_fail_and_are_shown(tmp_path):
    raises = write(tmp_path / "raises.ipynb", "1 / 0")
    warns = write(tmp_path / "warns.ipynb", "import warnings\nwarnings.warn('careful')")
    done = run(raises, warns)
    assert done.returncode == 1
    assert "raises.ipynb: FAILED" in done.stdout
    assert "ZeroDivisionError" in done.stdout
    assert "warns.ipynb: FAILED" in done.stdout
    assert "careful" in done.stdout
    before = warns.read_text()
    assert run("--in-place", warns).returncode == 1
    assert warns.read_text() == before


@pytest.mark.long
@needs_nbclient
@pytest.mark.parametrize(("required", "status", "word"), [("", 0, "skipped"), ("1", 1, "FAILED")])
def test_a_notebook_that_needs_pytorch_is_left_out_without_it(tmp_path, required, status, word):
    without = "import sys\nsys.modules['torch'] = None"
    needs = "from cs231n.torch_bridge import require_torch\nrequire_torch('this notebook')"
    path = write(
        tmp_path / "torch.ipynb", without, f"sys.path.append({str(TOP)!r})\n{needs}", "1 / 0"
    )
    done = run(path, CS231N_REQUIRE_TORCH=required)
    assert done.returncode == status, done.stdout + done.stderr
    assert f"torch.ipynb: {word}" in done.stdout
    assert "this notebook: PyTorch is missing" in done.stdout


@needs_nbclient
def test_a_notebook_that_is_not_there_is_named_before_any_runs():
    done = run("Dropot.ipynb")
    assert done.returncode == 2
    assert "there is no Dropot.ipynb; expected the path of a notebook, or" in done.stderr
