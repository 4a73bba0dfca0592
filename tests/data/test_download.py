"""The download against a server on this machine: good, slow, broken and hostile ones."""

import errno
import gzip
import hashlib
import io
import os
import pickle
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from children import environment

from cs231n.__main__ import main
from cs231n.commands import download as download_command
from cs231n.data import cifar10, download
from cs231n.data_utils import (
    DataError,
    DownloadError,
    download_cifar10,
    download_imagenet_val,
    get_CIFAR10_data,
    load_imagenet_val,
)
from cs231n.image_utils import image_from_url, load_image

FOLDER = "cifar-10-batches-py"
NAMES = tuple(cifar10.MD5)


def batches():
    """Return small files with the official names, which the loader can read."""
    rng = np.random.default_rng(7)
    return {
        name: pickle.dumps(
            {
                "data": rng.integers(0, 256, (6, 3072), dtype=np.uint8),
                "labels": rng.integers(0, 10, 6).tolist(),
            },
            4,
        )
        for name in NAMES
    }


def regular(name, data):
    """Return a plain member of an archive."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    return member, data


def special(name, kind, target=""):
    """Return a link, a device or a folder as a member of an archive."""
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = target
    return member, b""


def make_archive(members):
    """Return the bytes of a tar.gz of (member, data) pairs."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as tar:
        for member, data in members:
            tar.addfile(member, io.BytesIO(data))
    return file.getvalue()


def good_members(files):
    """Return the members of a good archive."""
    return [regular(f"{FOLDER}/{name}", data) for name, data in files.items()]


def sha256(data):
    """Return the hash by which an archive is known."""
    return hashlib.sha256(data).hexdigest()


def md5s(files):
    """Return the MD5 of each file."""
    return {name: hashlib.md5(data).hexdigest() for name, data in files.items()}


class Server:
    """An HTTP server whose answers are functions of the handler; counts the requests."""

    def __init__(self):
        self.answers = {}
        self.requests = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append(self.path)
                outer.answers.get(self.path, not_found)(self)

            def log_message(self, *args):
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *args: None
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self.thread.start()

    def url(self, path, answer=None):
        """Return the address of a path that gives this answer."""
        if answer is not None:
            self.answers[path] = answer
        return f"http://127.0.0.1:{self.server.server_port}{path}"

    def close(self):
        """Stop and wait."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def not_found(handler):
    """Answer 404."""
    handler.send_error(404)


def sends(data, length=None, headers=(), pause=0.0):
    """Return an answer with the data, promising a length, one piece after each pause."""

    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data) if length is None else length))
        for name, value in headers:
            handler.send_header(name, value)
        handler.end_headers()
        pieces = 20 if pause else 1
        step = -(-len(data) // pieces)
        for start in range(0, len(data), step):
            handler.wfile.write(data[start : start + step])
            handler.wfile.flush()
            time.sleep(pause)

    return answer


def fails_first(answer, then):
    """Return an answer that is another one from the second request on."""
    left = [answer]
    return lambda handler: (left.pop() if left else then)(handler)


@pytest.fixture
def server(monkeypatch):
    """Run a server that no proxy of the environment comes before."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="module")
def files():
    """Return the small batch files."""
    return batches()


@pytest.fixture(scope="module")
def archive(files):
    """Return a good small archive."""
    return make_archive(
        [
            special(FOLDER, tarfile.DIRTYPE),
            *good_members(files),
            regular(f"{FOLDER}/readme.html", b"not wanted"),
        ]
    )


@pytest.fixture
def run(files, archive, tmp_path):
    """Return download_cifar10 for the small archive into tmp_path/data."""

    def call(*urls, folder=tmp_path / "data", progress=None):
        return download_cifar10(folder, urls, sha256(archive), progress, md5s(files))

    return call


def dead_url():
    """Return an address at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/x"


def check_nothing_left(folder):
    """Fail where a failed download left a file in its folder."""
    assert [str(path) for path in Path(folder).rglob("*")] == []


class TestGoodServer:
    def test_files_are_there_and_nothing_else(self, run, server, archive, files, tmp_path):
        target = run(server.url("/a", sends(archive)))
        assert target == tmp_path / "data" / FOLDER
        assert {path.name: path.read_bytes() for path in target.iterdir()} == files
        assert [path.name for path in (tmp_path / "data").iterdir()] == [FOLDER]
        data = get_CIFAR10_data(20, 10, 6, cifar10_dir=tmp_path / "data")
        assert data["X_train"].shape == (20, 3, 32, 32)

    def test_second_call_asks_nobody(self, run, server, archive):
        url = server.url("/a", sends(archive))
        run(url)
        run(url)
        assert len(server.requests) == 1

    def test_folder_may_be_the_batches_folder(self, run, server, archive, tmp_path):
        folder = tmp_path / FOLDER
        assert run(server.url("/a", sends(archive)), folder=folder) == folder

    def test_one_address_as_text(self, server, archive, files, tmp_path):
        download_cifar10(
            tmp_path,
            urls=server.url("/a", sends(archive)),
            known_hash=sha256(archive),
            member_md5=md5s(files),
        )

    def test_damaged_copy_is_mended(self, run, server, archive, files):
        url = server.url("/a", sends(archive))
        target = run(url)
        (target / "data_batch_3").write_bytes(b"x")
        (target / "test_batch").unlink()
        run(url)
        assert {path.name: path.read_bytes() for path in target.iterdir()} == files

    def test_local_archive_is_used_and_kept(self, run, server, archive, tmp_path):
        place = tmp_path / "data" / "cifar-10-python.tar.gz"
        place.parent.mkdir()
        place.write_bytes(archive)
        run(server.url("/a", not_found))
        assert server.requests == []
        assert place.read_bytes() == archive

    def test_bad_local_archive_is_not_used(self, run, server, archive, tmp_path):
        place = tmp_path / "data" / "cifar-10-python.tar.gz"
        place.parent.mkdir()
        place.write_bytes(archive[:-10])
        run(server.url("/a", sends(archive)))
        assert server.requests == ["/a"]

    def test_compression_named_as_encoding_is_not_undone(self, run, server, archive):
        run(server.url("/a", sends(archive, headers=[("Content-Encoding", "gzip")])))

    def test_redirection(self, run, server, archive):
        def answer(handler):
            handler.send_response(302)
            handler.send_header("Location", server.url("/b", sends(archive)))
            handler.end_headers()

        run(server.url("/a", answer))
        assert server.requests == ["/a", "/b"]

    def test_two_at_once_end_with_one_good_copy(self, run, server, archive, files, tmp_path):
        url = server.url("/a", sends(archive, pause=0.01))
        results, barrier = [], threading.Barrier(3)

        def work():
            barrier.wait()
            results.append(run(url))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [tmp_path / "data" / FOLDER] * 3
        assert {path.name: path.read_bytes() for path in results[0].iterdir()} == files
        assert [path.name for path in (tmp_path / "data").iterdir()] == [FOLDER]

    @pytest.mark.long
    def test_two_processes_at_once_end_with_one_good_copy(self, server, archive, files, tmp_path):
        url, folder = server.url("/a", sends(archive, pause=0.02)), tmp_path / "data"
        code = (
            "import ast, sys; from cs231n.data_utils import download_cifar10; "
            "print('ready', flush=True); sys.stdin.readline(); "
            "print(download_cifar10(*ast.literal_eval(sys.argv[1])))"
        )
        words = [
            sys.executable,
            "-c",
            code,
            repr((str(folder), [url], sha256(archive), False, md5s(files))),
        ]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        both = [subprocess.Popen(words, env=environment(), text=True, **pipes) for _ in range(2)]
        for process in both:
            assert process.stdout.readline() == "ready\n"
        for process in both:
            process.stdin.write("go\n")
            process.stdin.flush()
        printed = [process.communicate(timeout=60) for process in both]
        assert [out for out, _ in printed] == [f"{folder / FOLDER}\n"] * 2
        assert server.requests == ["/a", "/a"]  # they did overlap
        assert {path.name: path.read_bytes() for path in (folder / FOLDER).iterdir()} == files
        assert [path.name for path in folder.iterdir()] == [FOLDER]

    def test_progress_goes_to_standard_error(self, run, server, archive, capsys):
        run(server.url("/a", sends(archive)), progress=True)
        output = capsys.readouterr()
        assert output.out == ""
        assert "CIFAR-10: 100%" in output.err

    def test_real_archive(self, server, tmp_path):
        named = os.environ.get("CS231N_ARCHIVE")
        if not named:
            pytest.skip("needs the archive cifar-10-python.tar.gz: set CS231N_ARCHIVE to its path")
        data = Path(named).read_bytes()
        target = download_cifar10(
            tmp_path, urls=[server.url("/a", sends(data))], known_hash=sha256(data)
        )
        assert md5s({path.name: path.read_bytes() for path in target.iterdir()}) == dict(
            cifar10.MD5
        )


class TestTroubleOnTheWay:
    def test_missing_server(self, run, tmp_path):
        with pytest.raises(DownloadError, match=r"no address(?s:.*)no connection.*refused"):
            run(dead_url(), dead_url())
        check_nothing_left(tmp_path / "data")

    def test_a_failure_is_told_once(self, run, server, archive, caplog):
        first = dead_url()
        with pytest.raises(DownloadError, match=first):
            run(first)
        assert first not in caplog.text
        run(first, server.url("/a", sends(archive)))
        assert caplog.text.count(first) == 1

    def test_missing_page_is_not_asked_twice(self, run, server, tmp_path):
        with pytest.raises(DownloadError, match="the server answered 404 Not Found"):
            run(server.url("/a"), server.url("/b"))
        assert server.requests == ["/a", "/b"]
        check_nothing_left(tmp_path / "data")

    def test_busy_server_is_asked_again(self, run, server, archive):
        busy = lambda handler: handler.send_error(503)  # noqa: E731
        run(server.url("/a", fails_first(busy, sends(archive))), server.url("/b"))
        assert server.requests == ["/a", "/b", "/a"]

    @pytest.mark.parametrize("part", [0.0, 0.5, 0.99])
    def test_connection_breaks(self, run, server, archive, tmp_path, part):
        cut = archive[: int(part * len(archive))]
        url = server.url("/a", sends(cut, length=len(archive)))
        with pytest.raises(DownloadError, match=rf"broke after {len(cut)}\D.* {len(archive)}\D"):
            run(url)
        assert server.requests == ["/a", "/a"]
        check_nothing_left(tmp_path / "data")

    def test_short_answer_that_the_client_library_takes_for_whole(self, run, monkeypatch):
        response = mock.MagicMock(ok=True, headers={"Content-Length": "900"})
        response.__enter__.return_value = response
        response.raw.stream.return_value = [b"x" * 300, b"y" * 400]
        monkeypatch.setattr("requests.get", mock.Mock(return_value=response))
        with pytest.raises(DownloadError, match="the connection broke after 700 of 900 bytes"):
            run("http://host/a")

    def test_connection_breaks_once(self, run, server, archive):
        broken = sends(archive[:1000], length=len(archive))
        run(server.url("/a", fails_first(broken, sends(archive))))

    def test_connection_ends_early_without_a_promise(self, run, server, archive, tmp_path):
        def answer(handler):
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(archive[:1000])

        with pytest.raises(DownloadError, match="not the known archive"):
            run(server.url("/a", answer))
        check_nothing_left(tmp_path / "data")

    def test_server_falls_silent(self, run, server, archive, monkeypatch, tmp_path):
        monkeypatch.setattr(download, "TIMEOUT", (1, 0.1))
        with pytest.raises(DownloadError, match="timed out"):
            run(server.url("/a", sends(archive[:20], length=len(archive), pause=0.3)))
        check_nothing_left(tmp_path / "data")

    @pytest.fixture
    def crawl(self, monkeypatch):
        """Return an answer during which the downloader's clock runs on by a quarter of an hour."""
        clock = types.SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
        monkeypatch.setattr(download, "time", clock)

        def crawling(data):
            def answer(handler):
                clock.now += 900
                sends(data)(handler)

            return answer

        return crawling

    def test_slow_server_waits_for_the_others(self, run, server, archive, crawl, caplog):
        run(server.url("/slow", crawl(archive)), server.url("/fast", sends(archive)))
        assert server.requests == ["/slow", "/fast"]
        assert "/slow: only 0 kB/s" in caplog.text

    def test_slow_server_is_better_than_none(self, run, server, archive, crawl):
        run(server.url("/slow", crawl(archive)), server.url("/b"))
        assert server.requests == ["/slow", "/b", "/slow"]

    def test_only_address_may_be_slow(self, run, server, archive, crawl):
        run(server.url("/slow", crawl(archive)))
        assert server.requests == ["/slow"]

    def test_wrong_hash(self, run, server, archive, tmp_path):
        changed = bytearray(archive)
        changed[500] ^= 1
        with pytest.raises(DownloadError, match=r"not the known archive.*does not match"):
            run(server.url("/a", sends(bytes(changed))))
        assert server.requests == ["/a"]
        check_nothing_left(tmp_path / "data")

    def test_wrong_hash_then_a_good_address(self, run, server, archive, files):
        target = run(server.url("/a", sends(b"<html>")), server.url("/b", sends(archive)))
        assert {path.name: path.read_bytes() for path in target.iterdir()} == files

    @pytest.mark.parametrize("promised", [True, False])
    def test_endless_answer(self, run, server, archive, monkeypatch, tmp_path, promised):
        monkeypatch.setattr(download, "MAX_ARCHIVE", 100_000)

        def answer(handler):
            handler.send_response(200)
            if promised:
                handler.send_header("Content-Length", str(10**12))
            handler.end_headers()
            for _ in range(100):
                handler.wfile.write(bytes(10_000))

        with pytest.raises(DownloadError, match="more than 100000 bytes"):
            run(server.url("/a", answer))
        check_nothing_left(tmp_path / "data")

    @pytest.mark.parametrize("url", ["no address", "http://", "ftp://127.0.0.1/x", "http://[x/"])
    def test_bad_address(self, run, url, tmp_path):
        with pytest.raises(DownloadError, match="no address gave the archive"):
            run(url)
        check_nothing_left(tmp_path / "data")

    def test_no_address_at_all(self, run):
        with pytest.raises(DownloadError, match=r"put a file cifar-10-python\.tar\.gz"):
            run()

    def test_interruption_leaves_nothing(self, run, server, archive, monkeypatch, tmp_path):
        def interrupted(*args):
            raise KeyboardInterrupt

        monkeypatch.setattr(download, "_check_pace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(server.url("/a", sends(archive)))
        check_nothing_left(tmp_path / "data")


class TestHostileArchive:
    def fetch(self, server, tmp_path, data, files):
        """Download an archive whose hash is known, into tmp_path/data."""
        return download_cifar10(
            tmp_path / "data",
            urls=[server.url("/a", sends(data))],
            known_hash=sha256(data),
            member_md5=md5s(files),
        )

    @pytest.mark.parametrize(
        "extra",
        {
            "parent": lambda path: regular(f"{FOLDER}/../../../evil", b"evil"),
            "absolute": lambda path: regular(str(path / "evil"), b"evil"),
            "other name": lambda path: regular(f"{FOLDER}/evil", b"evil"),
            "link": lambda path: special(f"{FOLDER}/evil", tarfile.SYMTYPE, "/etc/passwd"),
            "linked folder": lambda path: special("evil", tarfile.SYMTYPE, str(path)),
            "pipe": lambda path: special(f"{FOLDER}/evil", tarfile.FIFOTYPE),
            "the folder as a link": lambda path: special(FOLDER, tarfile.SYMTYPE, str(path)),
            "a second copy": lambda path: regular(f"{FOLDER}/test_batch", b"evil"),
        }.items(),
        ids=lambda case: case[0],
    )
    def test_only_the_known_files_are_taken(self, server, files, tmp_path, extra):
        member = extra[1](tmp_path)
        first = [member] if extra[0] != "a second copy" else []
        data = make_archive([*first, *good_members(files), member])
        target = self.fetch(server, tmp_path, data, files)
        assert {path.name: path.read_bytes() for path in target.iterdir()} == files
        assert [path.name for path in tmp_path.iterdir()] == ["data"]
        assert not target.is_symlink()

    @pytest.mark.parametrize(
        "kind",
        [
            tarfile.SYMTYPE,
            tarfile.LNKTYPE,
            tarfile.CHRTYPE,
            tarfile.BLKTYPE,
            tarfile.FIFOTYPE,
            tarfile.DIRTYPE,
        ],
    )
    def test_known_name_that_is_no_file(self, server, files, tmp_path, kind):
        others = {name: data for name, data in files.items() if name != "data_batch_2"}
        bad = special(f"{FOLDER}/data_batch_2", kind, f"{FOLDER}/data_batch_1")
        data = make_archive([*good_members(others), bad])
        with pytest.raises(DataError, match="data_batch_2 is a link or a device"):
            self.fetch(server, tmp_path, data, files)
        check_nothing_left(tmp_path / "data")

    def test_missing_and_altered_members(self, server, files, tmp_path):
        others = {name: data for name, data in files.items() if name != "batches.meta"}
        with pytest.raises(DataError, match=r"lacks cifar-10-batches-py/batches\.meta"):
            self.fetch(server, tmp_path, make_archive(good_members(others)), files)
        altered = {**files, "data_batch_5": b"evil"}
        with pytest.raises(DataError, match="data_batch_5 does not have the known MD5"):
            self.fetch(server, tmp_path, make_archive(good_members(altered)), files)
        check_nothing_left(tmp_path / "data")

    @pytest.mark.parametrize("data", [b"", b"no archive", gzip.compress(b"x" * 5000)])
    def test_no_archive(self, server, files, tmp_path, data):
        with pytest.raises(DataError, match=r"not a whole tar\.gz archive|lacks"):
            self.fetch(server, tmp_path, data, files)
        check_nothing_left(tmp_path / "data")

    def test_truncated_archive(self, server, files, archive, tmp_path):
        for part in (0.1, 0.5, 0.9):
            with pytest.raises(DataError, match=r"not a whole tar\.gz archive"):
                self.fetch(server, tmp_path, archive[: int(part * len(archive))], files)
        check_nothing_left(tmp_path / "data")

    @pytest.mark.parametrize("name", [f"{FOLDER}/data_batch_1", "other"])
    def test_archive_that_unpacks_to_too_much(self, server, files, tmp_path, monkeypatch, name):
        monkeypatch.setattr(download, "MAX_UNPACKED", 10**6)
        data = make_archive([regular(name, bytes(3 * 10**6)), *good_members(files)])
        with pytest.raises(DataError, match="unpacks to more than 1000000 bytes"):
            self.fetch(server, tmp_path, data, files)
        check_nothing_left(tmp_path / "data")


class TestFolder:
    def test_disk_is_full(self, run, server, archive, monkeypatch, tmp_path):
        def full(*args):
            raise OSError(errno.ENOSPC, "No space left on device")

        for name in ("_unpack_member", "_publish"):
            with monkeypatch.context() as patch:
                patch.setattr(download, name, full)
                with pytest.raises(OSError, match=r"cannot write to .*data.*No space left"):
                    run(server.url("/a", sends(archive)))
        check_nothing_left(tmp_path / "data")

    def test_disk_fills_during_the_download(self, run, server, archive, tmp_path):
        resource = pytest.importorskip("resource")
        signal = pytest.importorskip("signal")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
            with pytest.raises(OSError, match=r"cannot write to .*data.*File too large"):
                run(server.url("/a", sends(archive)), dead_url())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert server.requests == ["/a"]  # another address would not help
        check_nothing_left(tmp_path / "data")

    def test_folder_that_is_a_file(self, run, server, archive, tmp_path):
        (tmp_path / "data").write_text("in the way")
        with pytest.raises(OSError, match="download_cifar10: cannot write to"):
            run(server.url("/a", sends(archive)))
        assert (tmp_path / "data").read_text() == "in the way"

    @pytest.fixture
    def lonely(self, tmp_path, monkeypatch):
        """Let the package and the working directory be in tmp_path."""
        monkeypatch.delenv("CS231N_DATA", raising=False)
        for module in (download, cifar10):
            monkeypatch.setattr(module, "__file__", str(tmp_path / "site/cs231n/data/x.py"))
        home = tmp_path / "home"
        monkeypatch.setattr("platformdirs.user_data_path", lambda name, **_: home / name)
        (tmp_path / "site" / "datasets").mkdir(parents=True)
        (tmp_path / "work").mkdir()
        monkeypatch.chdir(tmp_path / "work")
        return tmp_path

    @pytest.mark.parametrize("case", ["checkout", "installed", "named", "named and found"])
    def test_default_folder(self, run, server, archive, lonely, monkeypatch, case):
        expected = lonely / "home/cs231n/datasets"
        if case == "checkout":
            (lonely / "site/datasets/get_datasets.sh").touch()
            expected = lonely / "site/datasets"
        elif case.startswith("named"):
            monkeypatch.setenv("CS231N_DATA", str(lonely / "named"))
            expected = lonely / "named"
        if case == "named and found":
            expected = lonely / "work/datasets"  # where older versions put it
            (expected / FOLDER).mkdir(parents=True)
            (expected / FOLDER / "data_batch_1").write_bytes(b"damaged")
        assert run(server.url("/a", sends(archive)), folder=None) == expected / FOLDER
        assert len(get_CIFAR10_data(5, 1, 1)["X_train"]) == 5

    def test_scripts_call_the_command(self, tmp_path):
        root = Path(__file__).resolve().parents[2]
        fake = tmp_path / "python"
        fake.write_text('#!/bin/sh\necho "$PWD:$*"\n')
        fake.chmod(0o755)
        for script in ("datasets/get_datasets.sh", "cs231n/datasets/get_datasets.sh"):
            output = subprocess.run(
                ["sh", root / script, "some folder"],
                env={**os.environ, "PYTHON": str(fake)},
                cwd=tmp_path,
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            assert output == f"{root}:-m cs231n download some folder\n"

    def test_the_script_takes_a_python_that_has_what_it_needs(self, tmp_path):
        top = tmp_path / "top"
        (top / "cs231n" / "datasets").mkdir(parents=True)
        (top / ".venv" / "bin").mkdir(parents=True)
        script = Path(__file__).resolve().parents[2] / "cs231n/datasets/get_datasets.sh"
        shutil.copy(script, top / "cs231n/datasets")
        bare, full = tmp_path / "bin" / "python", top / ".venv/bin/python"
        bare.parent.mkdir()
        bare.write_text('#!/bin/sh\n[ "$1" = -m ] && echo bare "$*"\n')
        full.write_text('#!/bin/sh\n[ "$1" = -c ] || echo full "$*"\n')
        bare.chmod(0o755), full.chmod(0o755)
        environment = {"PATH": f"{bare.parent}:/usr/bin:/bin"}
        run = ["/bin/sh", str(top / "cs231n/datasets/get_datasets.sh"), "folder"]
        output = subprocess.check_output(run, env=environment, text=True)
        assert output == "full -m cs231n download folder\n"
        full.unlink()
        tools = tmp_path / "tools"  # no other Python
        tools.mkdir()
        (tools / "dirname").symlink_to(shutil.which("dirname"))
        output = subprocess.check_output(run, env={"PATH": f"{bare.parent}:{tools}"}, text=True)
        assert output == "bare -m cs231n download folder\n"

    @pytest.mark.parametrize(
        "script", ["datasets/get_datasets.sh", "cs231n/datasets/get_datasets.sh"]
    )
    def test_scripts_get_what_the_course_s_script_gets(self, tmp_path, script):
        root = Path(__file__).resolve().parents[2]
        fake = tmp_path / "python"
        fake.write_text('#!/bin/sh\necho "$*"\n')
        fake.chmod(0o755)
        environment = {**os.environ, "PYTHON": str(fake)}
        output = subprocess.check_output(["sh", root / script], env=environment, text=True)
        assert output == "-m cs231n download --link cs231n/datasets --imagenet-val\n"


class TestLink:
    def batches(self, tmp_path, files):
        """Write small batches into a folder."""
        folder = tmp_path / "top/datasets" / FOLDER
        folder.mkdir(parents=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return folder

    def test_there_is_one_copy_in_two_places_that_move_together(self, tmp_path, files):
        folder = self.batches(tmp_path, files)
        place = download.link_cifar10(tmp_path / "top/cs231n/datasets", folder)
        assert place == tmp_path / "top/cs231n/datasets" / FOLDER
        assert (place / "data_batch_1").samefile(folder / "data_batch_1")
        (tmp_path / "top").rename(tmp_path / "moved")
        moved = tmp_path / "moved/cs231n/datasets"
        # As torchvision reads it, and as notebooks name it.
        assert (moved / FOLDER / "data_batch_1").read_bytes() == files["data_batch_1"]
        assert len(get_CIFAR10_data(moved, 3, 1, 1)["X_train"]) == 3

    def test_what_is_there_is_left_alone(self, tmp_path, files):
        folder = self.batches(tmp_path, files)
        (tmp_path / "own" / FOLDER).mkdir(parents=True)
        (tmp_path / "own" / FOLDER / "mine").touch()
        assert not download.link_cifar10(tmp_path / "own", folder).is_symlink()
        assert (tmp_path / "own" / FOLDER / "mine").exists()
        assert download.link_cifar10(folder.parent, folder) == folder
        assert not folder.is_symlink()

    def test_a_link_to_batches_that_are_gone_is_renewed(self, tmp_path, files):
        folder = self.batches(tmp_path, files)
        (tmp_path / "own").mkdir()
        (tmp_path / "own" / FOLDER).symlink_to(tmp_path / "gone")
        assert (download.link_cifar10(tmp_path / "own", folder) / "test_batch").is_file()

    def test_the_command_links_and_says_so(self, tmp_path, files, capsys, monkeypatch):
        folder = self.batches(tmp_path, files)
        monkeypatch.setattr(download_command.data_utils, "download_cifar10", lambda _: folder)
        assert main(["download", "--link", str(tmp_path / "own")]) == 0
        assert str(tmp_path / "own" / FOLDER) in capsys.readouterr().out
        (tmp_path / "file").touch()
        assert main(["download", "--link", str(tmp_path / "file" / "in")]) == 0
        assert f"give torchvision the folder {folder.parent}" in capsys.readouterr().out


class TestImagenetVal:
    @pytest.fixture
    def excerpt(self, tmp_path):
        """Return the bytes of a small file of the right form."""
        rng = np.random.default_rng(3)
        arrays = {"X": rng.integers(0, 256, (4, 5, 5, 3), dtype=np.uint8), "y": np.arange(4)}
        np.savez(tmp_path / "excerpt.npz", label_map={0: "tench"}, **arrays)
        return (tmp_path / "excerpt.npz").read_bytes()

    def test_downloads_what_the_loader_reads(self, server, excerpt, tmp_path, monkeypatch):
        url = server.url("/a", sends(excerpt))
        monkeypatch.setenv("CS231N_DATA", str(tmp_path / "data"))
        path = download_imagenet_val(urls=[server.url("/none"), url], progress=False)
        assert path == tmp_path / "data" / "imagenet_val_25.npz"
        assert os.listdir(path.parent) == [path.name]
        X, y, class_names = load_imagenet_val(num=3)
        assert (X.shape, y.tolist(), class_names) == ((3, 5, 5, 3), [0, 1, 2], {0: "tench"})
        assert download_imagenet_val(urls=[url]) == path
        assert server.requests == ["/none", "/a"]

    def test_a_damaged_file_is_replaced(self, server, excerpt, tmp_path):
        (tmp_path / "imagenet_val_25.npz").write_bytes(excerpt[:-30])
        path = download_imagenet_val(tmp_path, [server.url("/a", sends(excerpt))], False)
        assert path.read_bytes() == excerpt

    def test_anything_else_is_refused_and_leaves_nothing(self, server, excerpt, tmp_path):
        np.savez(tmp_path / "other.npz", X=np.zeros(3), y=np.zeros(3), label_map=np.zeros(1))
        np.savez(tmp_path / "evil.npz", X=np.zeros((1, 1, 1, 3)), y=[0], label_map=Evil())
        for name in ("other.npz", "evil.npz"):
            url = server.url("/a", sends((tmp_path / name).read_bytes()))
            with pytest.raises(DownloadError, match="not the 25 images"):
                download_imagenet_val(tmp_path / "data", [url], False)
        for answer in (sends(b"<html>"), sends(excerpt, len(excerpt) + 1), not_found):
            with pytest.raises(DownloadError, match="put a file imagenet_val_25"):
                download_imagenet_val(tmp_path / "data", [server.url("/a", answer)], False)
        assert os.listdir(tmp_path / "data") == []
        assert not Evil.ran


class TestImageFromUrl:
    def test_gives_the_picture(self, server):
        picture = Path(__file__).resolve().parents[2] / "notebooks/kitten.jpg"
        url = server.url("/kitten", sends(picture.read_bytes()))
        np.testing.assert_array_equal(image_from_url(url), load_image(picture), strict=True)

    def test_gives_nothing_else(self, server, tmp_path, monkeypatch):
        (tmp_path / "secret.png").write_bytes(b"secret")
        for url in (f"file://{tmp_path}/secret.png", str(tmp_path / "secret.png"), 3):
            with pytest.raises(ValueError, match="image_from_url: url is"):
                image_from_url(url)
        with pytest.raises(ValueError, match=r"image_from_url: .* is not a whole picture"):
            image_from_url(server.url("/text", sends(b"<html>")))
        with pytest.raises(OSError, match="404"):
            image_from_url(server.url("/none"))
        monkeypatch.setattr("cs231n.data.pictures.MAX_BYTES", 100)
        with pytest.raises(ValueError, match="more than 100 bytes"):
            image_from_url(server.url("/large", sends(bytes(1000))))


class Evil:
    """What would run if it were unpickled."""

    ran = False

    def __reduce__(self):
        return exec, (f"import {__name__}; {__name__}.Evil.ran = True",)


def test_pooch_is_imported_only_for_a_download():
    code = (
        "import sys, cs231n.data_utils; "
        "sys.exit(bool({'pooch', 'requests', 'matplotlib', 'PIL'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
