"""The command line in odd surroundings: streams, signals, environment, and how it ends."""

import io
import os
import re
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from children import environment
from test_commands import SMALL, finished, heed_signals, started

import cs231n
from cs231n.__main__ import main
from cs231n.commands import COMMANDS, command_line, demo, surroundings
from cs231n.kernels import backend, threads

pytestmark = pytest.mark.usefixtures("glyphs_drawn_once")

TINY = [
    "train",
    "--model",
    "two-layer",
    "--num-training",
    "60",
    "--hidden-dims",
    "4",
    "--num-test",
    "10",
]
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and descriptors of POSIX systems")


def buffered():
    """Return the environment of a user, whose output comes in blocks."""
    return {name: value for name, value in environment().items() if name != "PYTHONUNBUFFERED"}


def in_shell(folder, command, **environment):
    """Run a line of the shell, in which $CS231N is the command; return status and output."""
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; CS231N='{sys.executable} -m cs231n'; {command}"],
        cwd=folder,
        env={**buffered(), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=heed_signals,
    )
    return done.returncode, done.stdout, done.stderr


def test_without_a_command_all_are_listed_with_a_line_each(capsys):
    assert main([]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    found = {line[0]: line[1] for line in lines if len(line) == 2 and line[0] in COMMANDS}
    assert found == COMMANDS


def test_the_list_loads_no_command(tmp_path):
    code = (
        "import sys; from cs231n.__main__ import main; main([]); assert 'numpy' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.long
@POSIX
@pytest.mark.parametrize("closed", ["2>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams_do_not_stop_training(closed, tmp_path):
    status, _, _ = in_shell(tmp_path, f"$CS231N {' '.join(TINY)} --output run {closed}")
    assert status == 0
    assert (tmp_path / "run" / "results.json").exists()


@pytest.mark.long
@POSIX
def test_with_standard_error_closed_a_mistake_is_told_on_standard_output(tmp_path):
    status, out, _ = in_shell(tmp_path, f"$CS231N {' '.join(TINY)} --reg -1 2>&-")
    assert status == 1
    assert "cs231n train: " in out
    assert "reg is -1" in out


@POSIX
def test_no_file_of_ours_gets_the_number_of_a_closed_stream(tmp_path):
    code = (
        "import os, sys; from cs231n.commands import surroundings\n"
        "with surroundings.prepared(): number = os.open('file', os.O_CREAT)\n"
        "sys.exit(number)"
    )
    line = f'{sys.executable} -c "{code}" 0<&- 1>&- 2>&-'
    assert in_shell(tmp_path, line)[0] >= 3


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_begins_with_what_it_does(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert COMMANDS[command][0].upper() + COMMANDS[command][1:] + "." in told


class Bare:
    """A stream that can be written to, and nothing else, as some editors set up."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


@pytest.mark.long
@pytest.mark.parametrize("stream", [None, Bare()])
def test_odd_streams_in_the_same_process(stream, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream)
    assert main([*TINY, "--output", str(tmp_path / "run")]) == 0
    assert sys.stderr is stream


def test_a_mistake_reaches_a_stream_that_can_only_be_written_to(tmp_path, monkeypatch):
    stream = Bare()
    monkeypatch.setattr(sys, "stderr", stream)
    assert main([*TINY, "--reg", "-1", "--output", str(tmp_path / "run")]) == 1
    assert stream.text.count("reg is -1") == 1


def test_a_stream_that_was_closed_in_the_same_process(tmp_path, monkeypatch, capsys):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    assert main([*TINY, "--reg", "-1", "--output", str(tmp_path / "run")]) == 1
    assert "reg is -1" in capsys.readouterr().out


@POSIX
@pytest.mark.parametrize("words", [["--help"], ["check"]])
def test_a_reader_that_leaves_ends_a_command_without_a_word(words, tmp_path):
    status, _, err = in_shell(tmp_path, f"$CS231N {' '.join(words)} | true")
    assert (status, err) == (141, "")


@pytest.mark.long
@POSIX
def test_a_reader_that_leaves_ends_a_training_with_its_results(tmp_path):
    words = f"{' '.join(TINY)} --print-every 1 --epochs 500 --output run"
    status, _, err = in_shell(tmp_path, f"$CS231N {words} | head -3 > /dev/null")
    assert status == 141
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    assert "To go on from the last checkpoint: python -m cs231n train --resume run\n" in err
    assert {"best_model.npz", "history.csv", "results.json"} <= set(os.listdir(tmp_path / "run"))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("words", ["info", "--version"])
def test_a_full_disk_under_standard_output_is_told(words, tmp_path):
    status, _, err = in_shell(tmp_path, f"$CS231N {words} > /dev/full")
    assert status == 1
    assert err == "cs231n: standard output cannot be written (No space left on device)\n"


@pytest.mark.long
@POSIX
def test_any_name_of_a_folder_can_be_printed(tmp_path):
    folder = os.fsdecode(b"r\xc3\xbcn \xff")
    for number, coding in enumerate(("ascii", "utf-8")):
        name = f"{number}{folder}"
        process = subprocess.run(
            [sys.executable, "-m", "cs231n", *TINY, "--output", name],
            cwd=tmp_path,
            env=environment(PYTHONIOENCODING=coding, LC_ALL="C.UTF-8"),
            capture_output=True,
            timeout=120,
        )
        assert (process.returncode, process.stderr) == (0, b"")
        assert b"best_model.npz" in process.stdout
        assert (tmp_path / name / "results.json").exists()


@pytest.mark.long
@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "no such"])
def test_figures_need_no_display_whatever_is_set(backend, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", backend)
    status, out, err = finished(started(tmp_path, *TINY, "--output", "run"))
    assert (status, err) == (0, "")
    assert "training_curves.png" in out


def test_the_setting_of_figures_comes_back(monkeypatch):
    for value in ("svg", None):
        monkeypatch.setenv("MPLBACKEND", "svg")
        if value is None:
            monkeypatch.delenv("MPLBACKEND")
        with surroundings.prepared():
            assert os.environ["MPLBACKEND"] == "agg"
        assert os.environ.get("MPLBACKEND") == value


@pytest.mark.long
@pytest.mark.parametrize("words", [["--help"], [*TINY, "--output", "run"], ["check"]])
def test_python_without_docstrings(words, tmp_path):
    done = subprocess.run(
        [sys.executable, "-OO", "-m", "cs231n", *words],
        cwd=tmp_path,
        env=buffered(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["train", "info"])
def test_a_mistake_in_the_environment_is_a_line(command, tmp_path, monkeypatch):
    monkeypatch.setenv("CS231N_BACKEND", "avx1")
    status, out, err = finished(started(tmp_path, command))
    assert (status, out) == (2, "")
    assert re.fullmatch(r"cs231n: .*'avx1'; expected 'auto'.*\n", err)


@POSIX
@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_while_the_command_is_loaded(name, status, monkeypatch):
    def interrupted(*words):
        os.kill(os.getpid(), getattr(signal, name))
        time.sleep(1)

    monkeypatch.setattr(command_line, "_load", interrupted)
    assert main(["check"]) == status


@POSIX
@pytest.mark.parametrize("swallows", [True, False])
def test_ctrl_c_that_a_module_hides_while_it_is_imported(swallows, monkeypatch, capsys):
    def hiding(name):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        except KeyboardInterrupt:
            if not swallows:
                raise ImportError("no module") from None

    monkeypatch.setattr(command_line, "_load", hiding)
    assert main(["check"]) == 130
    assert capsys.readouterr().err == "cs231n: interrupted\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_nothing_is_imported_where_ctrl_c_has_no_answer_yet(tmp_path):
    code = "import sys; before = {*sys.modules}; import cs231n.__main__"
    code += "; print(*{*sys.modules} - before)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert {*done.stdout.split()} == {"cs231n", "cs231n.__main__"}, done.stderr


class Interrupts:
    """What is interrupted, or fails, when it is no longer needed."""

    def __init__(self, by_ctrl_c):
        self.by_ctrl_c = by_ctrl_c

    def __del__(self):
        if self.by_ctrl_c:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        raise ArithmeticError("in a callback")


@POSIX
@pytest.mark.parametrize(("by_ctrl_c", "count"), [(True, 0), (False, 1)])
def test_ctrl_c_in_a_callback_of_an_import_is_told_once(by_ctrl_c, count, monkeypatch, capsys):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    monkeypatch.setattr(command_line, "_load", lambda name: Interrupts(by_ctrl_c) and 1 / 0)
    if by_ctrl_c:
        assert main(["check"]) == 130
        assert capsys.readouterr().err == "cs231n: interrupted\n"
    else:
        with pytest.raises(ZeroDivisionError):
            main(["check"])
    assert len(told) == count


def test_ctrl_c_behind_a_runtime_error_is_told_and_any_other_is_not(monkeypatch, capsys):
    def failing(cause):
        def run(_):
            raise RuntimeError("a class") from cause

        return run

    monkeypatch.setattr(command_line, "run", failing(KeyboardInterrupt()))
    assert main([]) == 130
    assert capsys.readouterr().err == "cs231n: interrupted\n"
    monkeypatch.setattr(command_line, "run", failing(ValueError()))
    with pytest.raises(RuntimeError, match="a class"):
        main([])


@pytest.mark.parametrize("moment", ["__enter__", "__exit__"])
def test_ctrl_c_while_the_surroundings_are_prepared_or_left(moment, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    prepared = {"__enter__": lambda _: None, "__exit__": lambda *_: None, moment: interrupted}
    monkeypatch.setattr(command_line, "prepared", type("Prepared", (), prepared))
    assert main([]) == 130
    assert capsys.readouterr().err == "cs231n: interrupted\n"


@POSIX
def test_ctrl_c_at_any_moment_of_the_start(tmp_path):
    traces = 0
    for delay in (0.1, 0.3, 0.5):
        process = started(tmp_path, "check", "--seed", "1")
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        status, _, err = finished(process)
        traces += "cs231n/" in err and "Traceback" in err
        # Python itself ends with 1 where it has not got to any module of ours yet, and goes on
        # where it was in a callback, or a module that it was importing hid the exception.
        assert status in (130, -signal.SIGINT) or (status in (0, 1) and "cs231n/" not in err)
    assert traces == 0


@pytest.mark.long
@POSIX
@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_to_end_leaves_results(name, status, tmp_path):
    process = started(tmp_path, "train", *SMALL, "--epochs", "100000", "--output", "run")
    while "(Iteration 5 " not in (line := process.stdout.readline()) and line:
        pass
    process.send_signal(getattr(signal, name))
    found, out, err = finished(process)
    assert found == status
    assert "Traceback" not in out + err
    assert "To go on from the last checkpoint: python -m cs231n train --resume run\n" in err
    assert {"best_model.npz", "history.csv", "results.json"} <= set(os.listdir(tmp_path / "run"))


@pytest.mark.long
@POSIX
def test_a_signal_that_is_ignored_stays_so(tmp_path):
    status, _, err = in_shell(
        tmp_path, f"trap '' TERM; $CS231N {' '.join(TINY)} & sleep 1; kill -TERM $!; wait $!"
    )
    assert (status, err) == (0, "")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_info_tells_what_a_report_needs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CS231N_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["info"]) == 0
    facts = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert facts["cs231n"].startswith(f"{cs231n.__version__} in ")
    assert facts["kernels"].startswith(backend.backend())
    assert facts["threads"].startswith(str(threads.get_num_threads()))
    assert facts["numpy"].startswith(f"{np.__version__} with ")
    assert "tqdm " in facts["packages"]
    assert f"CS231N_DATA=~{os.sep}data" in facts["environment"]
    assert str(tmp_path) not in "".join(facts.values())
    assert {"processor", "system", "python", "data", "extras"} <= facts.keys()


def test_info_finds_the_data(cifar10_dir, monkeypatch, capsys):
    monkeypatch.setenv("CS231N_DATA", str(cifar10_dir))
    assert main(["info"]) == 0
    assert f"CIFAR-10 in {cifar10_dir}" in capsys.readouterr().out


@pytest.mark.long
def test_the_demo_trains_and_says_what_comes_next(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    out = capsys.readouterr().out
    (folder,) = (tmp_path / "runs").iterdir()
    assert float(re.search(r"best validation accuracy (\S+),", out)[1]) > 0.6
    resume = f"train --resume {os.path.join('runs', folder.name)} --epochs 8"
    assert f"python -m cs231n {resume}\n" in out
    assert main([*resume.split()[:-1], "5"]) == 0
    assert "going on after iteration 240" in capsys.readouterr().out
    for command in re.findall(r"python -m cs231n (\w+)", out):
        assert command in COMMANDS


@pytest.mark.parametrize("text", ["cs231n: a hint", "a hint"])
def test_a_warning_is_one_line_without_a_file(text):
    with surroundings.prepared():
        shown = warnings.formatwarning(text, UserWarning, __file__, 3)
    assert shown == "cs231n: a hint\n"


def test_warnings_to_programmers_tell_their_place():
    with surroundings.prepared():
        shown = warnings.formatwarning("old", DeprecationWarning, __file__, 3)
    assert shown.startswith(f"{__file__}:3: DeprecationWarning: old")
    assert warnings.formatwarning("new", UserWarning, __file__, 3).startswith(__file__)


def test_a_missing_extension_is_one_line(tmp_path):
    code = (
        "import sys; sys.modules['cs231n.kernels.native'] = None\n"
        "from cs231n.__main__ import main; sys.exit(main(['info']))"
    )
    surroundings = environment()
    del surroundings["CS231N_BACKEND"]
    surroundings.pop("CS231N_REQUIRE_EXTENSION", None)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=surroundings, capture_output=True, text=True
    )
    (line,) = done.stderr.splitlines()
    assert line.startswith("cs231n: the compiled extension is missing")
    assert done.returncode == 0


@pytest.mark.parametrize("command", ["download", "train", "bench"])
def test_a_python_that_lacks_a_package_is_told_in_one_line(command, tmp_path, monkeypatch, capsys):
    def lacking(name):
        raise ModuleNotFoundError("No module named 'tqdm'", name="tqdm")

    monkeypatch.setattr(command_line, "_load", lacking)
    assert main([command]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"cs231n: {sys.executable} lacks tqdm; ")


def test_a_package_that_only_the_run_needs_is_told_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CS231N_DATA", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pooch", None)
    monkeypatch.setitem(sys.modules, "pooch.hashes", None)
    assert main(["download", str(tmp_path / "data")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"cs231n download: {sys.executable} lacks pooch")


@pytest.mark.parametrize("place", ["environment", "checkout", "installed"])
def test_the_advice_for_a_package_fits_the_place(place, tmp_path, monkeypatch):
    monkeypatch.setattr(command_line, "__file__", str(tmp_path / "cs231n" / "commands" / "x.py"))
    python = tmp_path / ".venv" / "bin" / "python"
    words = {"environment": f"use {python}", "checkout": "`make setup`", "installed": "pip install"}
    if place != "installed":
        (tmp_path / "setup.py").touch()
    if place == "environment":
        python.parent.mkdir(parents=True)
        python.touch()
    error = ModuleNotFoundError("No module named 'tqdm'", name="tqdm")
    assert words[place] in command_line._missing(error)


def test_a_mistake_has_the_name_of_its_command_once(monkeypatch, capsys):
    def failing(options):
        raise ValueError("demo: no such picture")

    monkeypatch.setattr(demo, "run", failing)
    assert main(["demo"]) == 1
    assert capsys.readouterr().err == "cs231n demo: no such picture\n"
