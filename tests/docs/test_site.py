"""The site: its sources, and, where `make docs` has built it, its links, pages and search."""

import functools
import os
import shutil
import threading
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import build_site
import pytest

TOP = Path(__file__).resolve().parents[2]
SITE = Path(os.environ.get("CS231N_SITE", TOP / "build/docs/html")).absolute()
built = pytest.mark.skipif(
    "CS231N_SITE" not in os.environ, reason="`make docs` builds the site and sets CS231N_SITE"
)
WIDTHS = {"telephone": 390, "desktop": 1280}
PAGES = ["index.html", "explanations/kernels.html", "notebooks/Dropout.html", "gallery/index.html"]
PAGES += ["api/generated/cs231n.layers.conv_forward_naive.html"]


def test_a_link_to_a_page_of_the_site_goes_to_its_new_place():
    places = {TOP / "CONTRIBUTING.md": Path("contributing.md"), TOP / "docs/a.md": Path("b/a.md")}
    text = "[house](docs/a.md#walls) and [code](cs231n/layers.py), [web](https://numpy.org)"
    found = build_site.relinked(text, TOP / "CONTRIBUTING.md", places)
    assert found == "[house](b/a.md#walls) and code, [web](https://numpy.org)"


def test_every_door_and_every_public_name_has_a_page():
    doors = {path.stem for path in (TOP / "cs231n").glob("*.py")}
    unlisted = {"__init__", "__main__", "setup", "relaid"}
    assert doors - unlisted <= set(build_site.DOORS)
    pages = dict(build_site.api_pages())
    for door, text in pages.items():
        for name in build_site.public_names(door) if door != "index" else ():
            assert f"    {name}\n" in text
    assert "    conv_forward_naive\n" in pages["layers"]
    assert "    Solver\n" in pages["solver"]


class Page(HTMLParser):
    """Collects the links and the anchors of a page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.anchors.add(attributes.get("id"))
        self.links += [attributes[name] for name in ("href", "src") if attributes.get(name)]


@functools.cache
def page(path):
    return Page(path.read_text(encoding="utf-8"))


@built
def test_all_links_inside_the_site_resolve():
    broken = []
    for path in (path for path in SITE.rglob("*.html") if "_static" not in path.parts):
        base = path.as_uri()
        for link in page(path).links:
            scheme, _, target, _, part = urlsplit(urljoin(base, link))
            if scheme != "file":
                continue
            file = Path(unquote(target))
            if not file.is_file() or (
                part and file.suffix == ".html" and unquote(part) not in page(file).anchors
            ):
                broken.append(f"{path.relative_to(SITE)}: {link}")
    assert broken == []


@built
def test_each_public_name_is_described_on_a_page():
    for door in build_site.DOORS:
        for name in build_site.public_names(door):
            name = f"cs231n.{door}.{name}"
            assert name in page(SITE / f"api/generated/{name}.html").anchors


@pytest.fixture(scope="module")
def address():
    """Serve the site on this machine."""
    handler = functools.partial(Quiet, directory=SITE)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and prints nothing."""

    def log_message(self, *words):
        pass


@pytest.fixture(scope="module")
def browser():
    """Return a browser that was installed by others."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    playwright = pytest.importorskip("playwright.sync_api")
    if chromium is None:
        pytest.skip("needs chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(browser, address, name, width, scheme):
    """Open a page; return it, with what it complained of and what it asked others for."""
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    complaints = []
    tab.on("console", lambda it: it.type == "error" and complaints.append(it.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda it: it.url.startswith((address, "data:")) or complaints.append(it.url))
    tab.goto(address + name, wait_until="networkidle")
    return tab, complaints


@built
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_pages_are_readable(browser, address, name, width, scheme):
    tab, complaints = opened(browser, address, name, width, scheme)
    try:
        if folder := os.environ.get("CS231N_SCREENSHOTS"):
            picture = f"{name.replace('/', '-')}-{width}-{scheme}.png"
            tab.screenshot(path=Path(folder, picture), full_page=False)
        assert complaints == []
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        cut = "[...document.querySelectorAll('h1')].some(it => it.scrollWidth > it.clientWidth)"
        assert not tab.evaluate(cut)
        colour = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(int(part) for part in colour.strip("rgba()").split(",")[:3])
        assert (brightness < 200) == (scheme == "dark")
        if name == "explanations/kernels.html":
            assert tab.locator("mjx-container").count() > 0
    finally:
        tab.close()


@built
def test_one_search_answers_how_to_train_on_my_own_pictures(browser, address):
    name = "search.html?q=how+do+I+train+on+my+own+pictures"
    tab, complaints = opened(browser, address, name, 1280, "light")
    try:
        tab.wait_for_selector("#search-results li a")
        first = tab.locator("#search-results li a").first
        assert first.get_attribute("href").startswith("howto/own_pictures.html")
        assert complaints == []
    finally:
        tab.close()
