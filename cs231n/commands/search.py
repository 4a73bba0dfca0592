"""Search for the best options of `train`: many runs, their table and pictures."""

from __future__ import annotations

import argparse
import functools
import json
import os
import shlex
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NoReturn

from cs231n.commands import train
from cs231n.commands.surroundings import tell
from cs231n.commands.train import build, run_folder, start
from cs231n.commands.train.options import (
    OF_NETWORK,
    Remember,
    actions,
    adder,
    drop_unowned,
    flag,
    refuse_unsuited,
)
from cs231n.data.dataset import Dataset
from cs231n.fast_layers import get_num_threads
from cs231n.files import storage
from cs231n.search import Choice, Job, Range, Results, search
from cs231n.searching import study, workers
from cs231n.searching.space import parsed
from cs231n.training import checkpoint

__all__ = ["add_options", "run"]

_CONFIGURATION = "search.json"
# Options of `train` that are the search's own, or that no trial may have otherwise than another.
_OWN = (
    *("help", "seed", "output", "resume", "mpi", "statistics_per_rank", "recipe"),
    "find_learning_rate",
)
_FIXED = ("print_every", "checkpoint_every", "mirror", "data_dir", "dtype", "groups")
_FREE = ("trials", "jobs", "threads", "dask", "mpi")  # that may be others when a search goes on
_FLAGS = {"on": True, "off": False}
_MOST_WORDS, _MOST_CHARACTERS = 1000, 4096


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command: its own, and those of `train` with ranges and lists."""
    _add_own_options(parser)
    group = parser.add_argument_group(
        "options of train",
        "a number may be a range, low:high or low:high:log; any may be a list, one,two,three, and"
        f" a flag on,off, but for {', '.join(map(flag, _FIXED))}",
    )
    for name, action in actions().items():
        if name not in _OWN:
            _add_searched(group, name, action)


def _add_own_options(parser: argparse.ArgumentParser) -> None:
    """Declare what only a search has."""
    add = adder(parser, "search")
    add("--trials", type=int, default=20, help="runs in the end")
    add("--sampler", choices=study.SAMPLERS, default="random", help="who chooses the numbers")
    add("--points", type=int, default=5, help="grid: values of each range")
    add("--prune", choices=study.PRUNERS, help="stop hopeless runs (default: none is stopped)")
    add("--seed", type=int, default=231, help="from which all runs have their numbers and seeds")
    add("--storage", help="database of the study, as Optuna takes it (default: a file)")
    add("--study", help="name of the study in it, which many machines may share")
    add("--jobs", type=int, help="runs at once (default: one for each processor)")
    add("--threads", type=int, default=1, help="kernel threads of each run")
    # Known, to say more of it than that it is unknown.
    parser.add_argument("--find-learning-rate", action="store_true", help=argparse.SUPPRESS)
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--output", type=Path, help="folder (default: a new one in runs)")
    place.add_argument(
        "--resume", type=Path, metavar="SEARCH", help="go on with the search in this folder"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--dask", metavar="ADDRESS", help="run on a Dask cluster: its scheduler")
    where.add_argument(
        "--mpi",
        action="store_true",
        help="run on the other ranks of mpiexec -n 5 python -m mpi4py.futures -m cs231n search",
    )


def _add_searched(group: Any, name: str, action: argparse.Action) -> None:
    """Declare an option of `train`, with a range or a list where there may be one."""
    if name in _FIXED:
        group._add_action(action)
        return
    settings: dict[str, Any] = {"help": action.help, "default": action.default, "dest": name}
    settings.update(action=Remember)
    if action.nargs == 0:
        settings.update(nargs="?", const=True, metavar="on,off")
    elif action.nargs is not None:
        settings.update(nargs=action.nargs)
    if action.nargs != 0:
        settings.update(metavar=action.metavar or name.upper())
    group.add_argument(flag(name), type=functools.partial(_word, action), **settings)


def _word(action: argparse.Action, text: str) -> Any:
    """Return what a word of the command line means: a value, a range or a list."""
    try:
        if action.nargs != 0 and action.type not in (int, float) and os.path.exists(text):
            return _value(action, text)  # a path may have commas
        return parsed(text, _kind(action))
    except (ValueError, KeyError) as error:
        expected = "" if action.choices is None else f"; expected {', '.join(action.choices)}"
        said = f"no choice {error}" if isinstance(error, KeyError) else f"{error}"
        raise argparse.ArgumentTypeError(f"{said}{expected}") from None


def _kind(action: argparse.Action) -> Callable[[str], Any]:
    """Return what makes a value of an option: a number, a flag or a text."""
    if action.type in (int, float):
        return action.type
    if action.nargs == 0:
        return _FLAGS.__getitem__
    return functools.partial(_value, action)


def _value(action: argparse.Action, text: str) -> Any:
    """Return the value of an option that is no number."""
    if action.choices is not None and text not in action.choices:
        raise KeyError(text)
    return action.type(text) if callable(action.type) else text


def run(options: argparse.Namespace) -> int:
    """Search, and print where everything is."""
    if options.find_learning_rate:
        raise ValueError(
            "--find-learning-rate trains nothing to compare; expected it with train, or a range"
            " such as --learning-rate 1e-5:1e-1:log"
        )
    study.optuna()  # a missing extra is told before anything is made
    if options.resume is not None:
        options = _resumed(options)
    else:
        start.refuse_another_network(options)
    space, fixed = _split(options)
    if not space:
        raise ValueError(
            "nothing is searched; expected a range or a list for some option, such as"
            " --learning-rate 1e-5:1e-1:log"
        )
    with _folder(options) as (folder, _):
        if options.resume is None:
            _write_configuration(folder, options)
        try:
            results = _search(options, space, fixed, folder)
        except KeyboardInterrupt:
            again = shlex.join(["python", "-m", "cs231n", "search", "--resume", str(folder)])
            tell(f"The table so far: {folder / 'trials.csv'}\nTo go on: {again}")
            raise
    print("\n".join(_summary(results)))
    return 0


def _folder(options: argparse.Namespace) -> Any:
    """Claim the folder of the search as that of a run."""
    models = options.model if isinstance(options.model, str) else "search"
    data = options.data if isinstance(options.data, str) else "several"
    place = {"resume": options.resume, "output": options.output}
    return run_folder.claimed(argparse.Namespace(model=f"search-{models}", data=data, **place))


def _search(
    options: argparse.Namespace, space: dict[str, Any], fixed: dict[str, Any], folder: Path
) -> Results:
    """Call the search with what the options say."""
    jobs = options.jobs or get_num_threads()
    executor: Callable[[], workers.Workers] | None = None
    if options.dask is not None:
        executor = functools.partial(workers.Dask, options.dask)
    elif options.mpi:
        executor = functools.partial(workers.Mpi, options.jobs)
    return search(
        functools.partial(_trial, fixed),
        space,
        folder,
        trials=options.trials,
        seed=options.seed,
        jobs=jobs,
        threads=options.threads,
        executor=executor,
        sampler=options.sampler,
        prune=options.prune,
        points=options.points,
        storage=options.storage,
        study_name=options.study,
        resume=options.resume is not None,
    )


def _split(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is searched, by the names of options, and what is fixed."""
    space: dict[str, Any] = {}
    fixed: dict[str, Any] = {}
    for name in actions():
        if name in _OWN:
            continue
        value = getattr(options, name)
        words = value if isinstance(value, list) else [value]
        for index, word in enumerate(words, start=1):
            if isinstance(word, (Range, Choice)):
                space[name if len(words) == 1 else f"{name}.{index}"] = word
        fixed[name] = value
    # What describes another network beside --from went unheeded in older versions.
    fixed["given"] = getattr(options, "given", set()) - set(OF_NETWORK)
    return space, fixed


def _trial(fixed: dict[str, Any], job: Job) -> Any:
    """Train a run of the search, or go on with it, in its folder; return its Solver."""
    if not checkpoint.exists(job.folder / run_folder.CHECKPOINT):
        options = _fitting(_options(fixed, job), _searched(fixed))
        run_folder.write_configuration(job.folder, options)
    found: list[Any] = []

    def watch(solver: Any) -> None:
        solver.on_check = job.report
        found.append(solver)

    defaults = {name: action.default for name, action in actions().items()}
    going_on = argparse.Namespace(**{**defaults, "resume": job.folder})
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        train.train(going_on, _load, watch)
    return found[0]


def _searched(fixed: dict[str, Any]) -> set[str]:
    """Return the names of the options that are searched."""
    words = {name: value if isinstance(value, list) else [value] for name, value in fixed.items()}
    return {name for name in words if any(isinstance(w, (Range, Choice)) for w in words[name])}


def _fitting(options: argparse.Namespace, searched: set[str]) -> argparse.Namespace:
    """Return the options of a trial with what --from brings, without what only others can use."""
    start.described(options)
    drop_unowned(options, {*searched, "normalization"})  # of this one older versions took all
    refuse_unsuited(options)
    return options


def _options(fixed: dict[str, Any], job: Job) -> argparse.Namespace:
    """Return the options of a trial, as `train` takes them."""
    defaults = {name: action.default for name, action in actions().items()}
    options = argparse.Namespace(**{**defaults, "seed": job.seed})
    for name, value in fixed.items():
        words = value if isinstance(value, list) else [value]
        keys = [name if len(words) == 1 else f"{name}.{i}" for i in range(1, len(words) + 1)]
        chosen = [job.values.get(key, word) for key, word in zip(keys, words)]
        setattr(options, name, chosen if isinstance(value, list) else chosen[0])
    return options


def _load(options: argparse.Namespace) -> Dataset:
    """Load the data, once for all trials of a worker that want the same."""
    names = (
        *("data", "image_size", "data_dir", "standardize", "dtype"),
        *("num_training", "num_validation", "num_test"),
    )
    return _loaded(tuple((name, getattr(options, name)) for name in names))


@functools.lru_cache(maxsize=1)
def _loaded(chosen: tuple[tuple[str, Any], ...]) -> Dataset:
    """Load the data that these options name."""
    defaults = {name: action.default for name, action in actions().items()}
    return build.load_data(argparse.Namespace(**{**defaults, **dict(chosen)}))


def _write_configuration(folder: Path, options: argparse.Namespace) -> None:
    """Write the options as words of a command line, which are checked when they are read."""
    given = _given(options) - {"output", "resume"}
    if not options.mirror:
        given.discard("mirror")  # no word behind it turns it off
    words: list[str] = []
    for name, value in vars(options).items():
        if name in given:
            words += [flag(name), *_words(value)]
    storage.write_text(folder / _CONFIGURATION, json.dumps({"words": words}, indent=2) + "\n")


def _words(value: Any) -> list[str]:
    """Return the words that give an option a value."""
    if value is True:
        return []
    if isinstance(value, list):
        return [word for one in value for word in _words(one)]
    if isinstance(value, Range):
        return [f"{value.low!r}:{value.high!r}{':log' if value.log else ''}"]
    if isinstance(value, Choice):
        return [",".join(map(_text, value.values))]
    return [_text(value)]


def _text(value: Any) -> str:
    """Return the text of a value: 1 is no flag, though it equals True."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


class _Parser(argparse.ArgumentParser):
    """A parser of words from a file, whose mistakes are errors like those of other files."""

    def error(self, message: str) -> NoReturn:
        """Raise a ValueError."""
        raise ValueError(message)


def _parser() -> _Parser:
    """Return the parser of the command."""
    parser = _Parser(add_help=False)
    add_options(parser)
    return parser


def _resumed(options: argparse.Namespace) -> argparse.Namespace:
    """Return the options of the search in a folder, with those given now that may change."""
    folder, given = options.resume, _given(options)
    fixed = sorted(given - {*_FREE, "resume"})
    if fixed:
        raise ValueError(
            f"--resume takes the options from {folder}; found {', '.join(map(flag, fixed))} too,"
            f" expected none but {', '.join(map(flag, _FREE))}"
        )
    found = _read_configuration(folder)
    for name in given:
        setattr(found, name, getattr(options, name))
    return found


def _given(options: argparse.Namespace) -> set[str]:
    """Return the names of the options that stood on the command line, if only with the default."""
    remembered = getattr(options, "given", ())
    defaults = vars(_parser().parse_args([]))
    return {
        name
        for name, default in defaults.items()
        if name in remembered or getattr(options, name) != default
    }


def _read_configuration(folder: Path) -> argparse.Namespace:
    """Return the options of the search in a folder."""
    path = folder / _CONFIGURATION
    try:
        words = json.loads(storage.read_text("search", path))["words"]
        if not isinstance(words, list) or len(words) > _MOST_WORDS:
            raise ValueError("no list of words")
        if any(not isinstance(w, str) or len(w) > _MOST_CHARACTERS or "\0" in w for w in words):
            raise ValueError("no words")
        return _parser().parse_args(words)
    except FileNotFoundError:
        raise FileNotFoundError(f"{folder} is no folder of a search: there is no {path}") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); expected what search wrote") from error


def _summary(results: Results) -> list[str]:
    """Return the lines that tell what the search has come to."""
    lines = [f"{'table':<16} {results.folder / 'trials.csv'}"]
    for name in ("accuracy", "parallel", "importance", "curves"):
        path = results.folder / f"{name}.png"
        if path.exists():
            lines.append(f"{name:<16} {path}")
    if results.best is None:
        return [*lines, "no run was trained to its end"]
    folder = results.folder / results.best.folder
    epochs = run_folder.read_configuration(folder).epochs
    longer = shlex.join(["train", "--resume", str(folder), "--epochs", str(3 * epochs)])
    return [
        f"best: {results.best}",
        *lines,
        f"{'best run':<16} {folder}",
        f"train it for longer: python -m cs231n {longer}",
    ]
