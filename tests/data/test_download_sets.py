"""The other data sets, downloaded from a server on this machine."""

import gzip
import hashlib

import numpy as np
import pytest
from formats import idx_bytes, write_cifar100, write_mnist, write_svhn
from test_download import Server, make_archive, md5s, not_found, regular, sends, sha256

from cs231n.__main__ import main
from cs231n.data import download_sets
from cs231n.data.download_sets import DOWNLOADS, download_data
from cs231n.data_utils import DownloadError, load_data

SETS = ("cifar100", "mnist", "fashion-mnist", "svhn")


@pytest.fixture
def server():
    """Return a server that answers nothing yet."""
    server = Server()
    yield server
    server.close()


@pytest.fixture(params=SETS)
def offered(request, server, tmp_path, monkeypatch):
    """Offer a small set under two addresses, its hashes known; return its name and its files."""
    name, rng, source = request.param, np.random.default_rng(3), tmp_path / "source"
    if name == "cifar100":
        write_cifar100(source, rng)
    elif name == "svhn":
        write_svhn(source, rng)
    else:
        write_mnist(source, rng, packed=True)
    files = {path.name: path.read_bytes() for path in source.iterdir()}
    served, known = dict(files), {"md5": md5s(files)}
    if name == "cifar100":
        members = [regular(f"cifar-100-python/{each}", data) for each, data in files.items()]
        served = {"cifar-100-python.tar.gz": make_archive(members)}
        known["archive_hash"] = sha256(served["cifar-100-python.tar.gz"])
    urls = (server.url("/dead/"), server.url("/good/"))
    for each, data in served.items():
        server.url(f"/good/{each}", sends(data))
        server.url(f"/dead/{each}", not_found)
    monkeypatch.setitem(DOWNLOADS, name, DOWNLOADS[name]._replace(urls=urls, **known))
    return name, files


def test_every_set_comes_from_the_next_address_and_can_be_loaded(offered, tmp_path):
    name, files = offered
    target = download_data(name, tmp_path / "home", progress=False)
    assert target == tmp_path / "home" / DOWNLOADS[name].folder
    assert {path.name: path.read_bytes() for path in target.iterdir()} == files
    data = load_data(target, num_training=40, num_validation=5, num_test=10)
    assert len(data["y_train"]) == 40


def test_where_it_is_searched_it_is_found(offered, tmp_path, monkeypatch):
    monkeypatch.setenv("CS231N_DATA", str(tmp_path / "home"))
    name, _ = offered
    download_data(name, progress=False)
    assert len(load_data(name, num_training=40, num_validation=5, num_test=10)["y_test"]) == 10


def test_a_good_copy_is_kept_and_a_damaged_file_mended(offered, server, tmp_path):
    name, files = offered
    target = download_data(name, tmp_path, progress=False)
    asked = len(server.requests)
    download_data(name, tmp_path, progress=False)
    assert len(server.requests) == asked
    spoilt = sorted(files)[0]
    (target / spoilt).write_bytes(b"x")
    download_data(name, tmp_path, progress=False)
    assert (target / spoilt).read_bytes() == files[spoilt]
    assert len(server.requests) == asked + 2  # the dead address, and the good one


def test_what_has_another_hash_is_not_taken(offered, server, tmp_path):
    name, files = offered
    for each in [*files, "cifar-100-python.tar.gz"]:
        server.url(f"/good/{each}", sends(b"something else"))
    with pytest.raises(DownloadError, match=r"download_data: no address gave .*\n.*404.*\n.*known"):
        download_data(name, tmp_path / "home", progress=False)
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []


def test_own_addresses(offered, server, tmp_path):
    name, _ = offered
    download_data(name, tmp_path / "home", server.url("/good/"), progress=False)
    assert all(path.startswith("/good/") for path in server.requests)


def test_an_interrupted_download_goes_on_with_the_files_that_are_missing(
    server, tmp_path, monkeypatch
):
    images, labels = idx_bytes(np.zeros((3, 4, 4), np.uint8)), idx_bytes(np.zeros(3, np.uint8))
    files = {
        f"{name}.gz": gzip.compress(images if "images" in name else labels, mtime=0)
        for name in download_sets.idx.FILES
    }
    monkeypatch.setitem(DOWNLOADS, "mnist", DOWNLOADS["mnist"]._replace(md5=md5s(files)))
    first, *others = files
    server.url(f"/{first}", sends(files[first]))
    with pytest.raises(DownloadError, match=others[0]):
        download_data("mnist", tmp_path, [server.url("/")], progress=False)
    for name in others:
        server.url(f"/{name}", sends(files[name]))
    download_data("mnist", tmp_path, [server.url("/")], progress=False)
    assert server.requests.count(f"/{first}") == 1


def test_the_command(offered, tmp_path, capsys):
    name, _ = offered
    assert main(["download", "--data", name, str(tmp_path / "home")]) == 0
    place = tmp_path / "home" / DOWNLOADS[name].folder
    assert f"{DOWNLOADS[name].title} is in {place}" in capsys.readouterr().out
    assert main(["download", "--data", name, "--imagenet-val"]) != 0
    assert "go with CIFAR-10" in capsys.readouterr().err


def test_the_published_hashes_are_whole():
    for wanted in DOWNLOADS.values():
        digests = list(wanted.md5.values())
        assert len(set(digests)) == len(digests)
        assert all(len(bytes.fromhex(digest)) == hashlib.md5().digest_size for digest in digests)
        assert all(url.endswith("/") for url in wanted.urls)
        assert len(wanted.archive_hash) in (0, 64)


def test_an_unknown_name():
    with pytest.raises(ValueError, match="download_data: name is 'imagenet'; expected 'cifar10',"):
        download_data("imagenet")
