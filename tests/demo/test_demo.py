"""The demo in a browser: a picture becomes a mesh that can be turned, nothing comes from elsewhere, mistakes are told.

    XRAY_DEMO_PICTURE=docs/demo.png pytest tests/demo/test_demo.py

also writes the picture of the page that the README shows, with the model's own number of steps.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers.chromium import BROWSER, PATIENCE_S, Chromium
from helpers.demo_requests import ask, upload
from helpers.forked import python
from PIL import Image

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "example" / "pictures" / "mug.png"
README_PICTURE = os.environ.get("XRAY_DEMO_PICTURE")
STEPS = None if README_PICTURE else 2
"""Of sampling; None for the model's own number, so that the README shows what a visitor sees."""


def watch() -> None:
    """Write down every address that this process speaks to from now on."""

    def hear(event: str, arguments: tuple) -> None:
        if event in ("socket.connect", "socket.getaddrinfo"):
            sys.stderr.write(f"asked for {arguments[1:] if event == 'socket.connect' else arguments[:2]}\n")

    sys.addaudithook(hear)


class Server:
    """`python demo.py` in a process of its own, in a folder that is not the repository's."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.log = folder / "demo.log"
        command = [str(ROOT / "demo.py"), "--port", "0", "--device", "cpu", *flags]
        self.process = python(command, folder, self.log, watch)

    def address(self, timeout_s: float = PATIENCE_S) -> str:
        """Where it serves, as it says itself."""
        end = time.monotonic() + timeout_s
        while not (found := re.search(r"^open (\S+)/ ", self.log.read_text(), re.MULTILINE)):
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < end, self.log.read_text()[-3000:]
            time.sleep(0.1)
        return found[1]

    def example(self) -> dict:
        """The first example as the page has it: a file in the server's own folder."""
        components = json.loads(ask(f"{self.address()}/config")[1])["components"]
        (gallery,) = (one for one in components if one["type"] == "gallery")
        return gallery["props"]["value"][0]["image"]

    def folder(self) -> Path:
        """Where uploads and results are."""
        return next(path for path in Path(self.example()["path"]).parents if path.name.startswith("xray-demo-"))

    def foreign(self) -> list[str]:
        """Lines about addresses that are not of this machine."""
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("asked for")]
        assert lines
        return [line for line in lines if "127.0.0.1" not in line]


@pytest.fixture(scope="module")
def inferred(tmp_path_factory):
    """What infer.py writes for the picture, started first so that both load their networks at once."""
    output = tmp_path_factory.mktemp("infer")
    flags = ["--image", str(PICTURE), "--output", str(output), "--seed", "3", "--device", "cpu"]
    flags += ["--steps", str(STEPS)] if STEPS else []
    log = tmp_path_factory.mktemp("log") / "infer.log"
    process = python([str(ROOT / "infer.py"), *flags], output, log)

    def wait() -> Path:
        assert process.wait(PATIENCE_S) == 0, log.read_text()
        return output

    return wait


@pytest.fixture(scope="module")
def server(tmp_path_factory, inferred):
    running = Server(tmp_path_factory.mktemp("demo"), "--upload_mb", "2", "--queue", "2")
    yield running
    folder = running.folder()
    assert folder.is_dir()
    running.process.send_signal(signal.SIGTERM)
    running.process.wait(PATIENCE_S)
    assert not folder.exists()


@pytest.fixture(scope="module")
def browser(tmp_path_factory, server):
    if BROWSER is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    with Chromium(tmp_path_factory.mktemp("browser")) as page:
        page.open(server.address())
        page.wait("document.querySelector('#make')")
        yield page


def box_of(page: Chromium, selector: str) -> dict:
    """Place and size of an element in the window."""
    return page.value(f"document.querySelector({selector!r}).getBoundingClientRect().toJSON()")


def picture_of(page: Chromium, selector: str) -> np.ndarray:
    """(H, W, 3) what an element of the page looks like."""
    box = box_of(page, selector)
    clip = {key: box[key] for key in ("x", "y", "width", "height")}
    return np.asarray(Image.open(io.BytesIO(page.screenshot(clip))).convert("RGB")).astype(int)


def drawn(page: Chromium, selector: str) -> float:
    """Share of an element's pixels that are not white, the lower half alone: labels are above."""
    pixels = picture_of(page, selector)
    return float((pixels[len(pixels) // 2 :].min(-1) < 200).mean())


def until(true, timeout_s: float = PATIENCE_S) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.3)


def assert_turns(page: Chromium, selector: str) -> None:
    """A view comes to rest, and turns when it is dragged."""
    until(lambda: (picture_of(page, selector) == picture_of(page, selector)).all())
    before, box = picture_of(page, selector), box_of(page, selector)

    def turned() -> bool:
        page.drag(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, 60)
        return bool((picture_of(page, selector) != before).mean() > 0.01)

    until(turned)


def take_away(page: Chromium) -> None:
    page.value("document.querySelector('#picture button[aria-label=\"Remove Image\"]')?.click()")
    page.wait("!document.querySelector('#picture img')")


def choose(page: Chromium, path: Path, done) -> None:
    """Give a file to the field of the picture until `done()`; again after a while, where the page has made its field
    anew since."""

    def chosen() -> bool:
        page.choose_file("#picture input[type=file]", path)
        end = time.monotonic() + 5
        while not done():
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    until(chosen)


def give(page: Chromium, path: Path) -> None:
    """Upload a picture in the place of the one that is there."""
    choose(page, path, lambda: page.value(f"document.querySelector('#picture img')?.src.endsWith('/{path.name}')"))


def set_number(page: Chromium, field: str, value: int) -> None:
    """Type into a field of numbers."""
    page.value(f"""(field => {{
      Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(field, {value});
      for (const kind of ['input', 'change', 'blur']) field.dispatchEvent(new Event(kind, {{bubbles: true}}));
    }})(document.querySelector({field!r}))""")


def test_a_picture_becomes_a_mesh_in_the_browser(browser, inferred, server):
    give(browser, PICTURE)
    browser.click("#settings button")
    browser.wait("document.querySelector('#settings input[type=number]')")
    set_number(browser, "[aria-label=Seed]", 3)
    if STEPS:
        set_number(browser, "#steps input[type=number]", STEPS)
    browser.click("#make")
    browser.wait("document.querySelector('#npz').disabled")
    browser.wait("!document.querySelector('#npz').disabled")
    browser.wait("document.querySelector('#mesh canvas')")
    until(lambda: drawn(browser, "#mesh") > 0.05)
    until(lambda: drawn(browser, "#points iframe") > 0.02)
    for stage in ("cut-out", "X-Ray", "more rays", "points", "layers", "mesh", "files", "all"):
        assert re.search(rf"^{stage}\s+\d+\.\d\d$", browser.text(), re.MULTILINE), browser.text()
    assert browser.value("document.querySelector('#layers img').naturalWidth") > 500
    assert browser.value("document.querySelector('#cutout img').naturalWidth") > 50
    for selector in ("#mesh canvas", "#points iframe"):
        assert_turns(browser, selector)
    output = inferred()
    for kind, name in (("npz", "mug_xray.npz"), ("ply", "mug_points.ply"), ("glb", "mug.glb")):
        browser.click(f"#{kind}")
        assert browser.downloaded(name) == (output / name).read_bytes(), name
    if README_PICTURE:
        browser.value("document.querySelector('#settings button').click(), scrollTo(0, 0)")
        time.sleep(1)
        height = box_of(browser, "#layers")["bottom"] + 10
        shown = browser.screenshot({"x": 0, "y": 0, "width": 1280, "height": height}, beyond=True)
        few = Image.open(io.BytesIO(shown)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
        few.save(ROOT / README_PICTURE, optimize=True)


def make_two(page: Chromium) -> None:
    """Begin two shapes of the picture."""
    give(page, PICTURE)
    if not page.value("Boolean(document.querySelector('#count input[type=number]'))"):
        page.click("#settings button")
        page.wait("document.querySelector('#count input[type=number]')")
    set_number(page, "#count input[type=number]", 2)
    page.click("#make")
    page.wait("document.querySelector('#npz').disabled")


def test_several_shapes_and_a_page_loaded_again_in_the_middle(browser, tmp_path):
    """The work goes on, and the new page shows it; then each of the shapes can be looked at."""
    make_two(browser)
    browser.wait("document.querySelector('#cutout img')")
    browser.reload("document.readyState === 'complete' && document.querySelector('#make')")
    browser.wait("document.querySelector('#picture img')?.src.includes('mug.png')")
    browser.wait("document.querySelector('#layers img')?.src.includes('mug_sample2')")
    browser.wait("document.querySelector('#shape')?.innerText.includes('Shape 2 of 2')")
    browser.wait("!document.querySelector('#npz').disabled")
    set_number(browser, "#shape input[type=number]", 1)
    browser.wait("document.querySelector('#layers img')?.src.includes('mug_sample1')")
    browser.wait("document.querySelector('#shape').innerText.includes('Shape 1 of 2')")
    until(lambda: drawn(browser, "#mesh") > 0.05)


def test_a_mesh_that_comes_twice_before_its_viewer_is_loaded(browser):
    """The shape that a visitor has chosen is sent again when the last one is ready; its viewer comes late."""
    make_two(browser)
    browser.reload("document.readyState === 'complete' && document.querySelector('#make')")
    browser.wait("document.querySelector('#shape')?.innerText.includes('Shape 2 of 2')")
    browser.send("Fetch.enable", patterns=[{"urlPattern": "*/Canvas3D-*"}])  # these wait
    set_number(browser, "#shape input[type=number]", 1)
    browser.wait("document.querySelector('#shape').innerText.includes('Shape 1 of 2')")
    browser.wait("!document.querySelector('#npz').disabled")
    time.sleep(2)
    assert not browser.value("Boolean(document.querySelector('#mesh canvas'))")
    browser.send("Fetch.disable")
    until(lambda: drawn(browser, "#mesh") > 0.05)


def test_every_part_has_a_name_and_is_reached_by_the_keyboard(browser):
    """What a screen reader says: pictures, buttons, fields and canvases have words; nothing needs a mouse."""
    nameless = """Array.from(document.querySelectorAll('img, button, input, canvas, iframe')).filter(part => {
      const box = part.getBoundingClientRect();
      if (!box.width || !box.height) return false;
      const words = [part.alt, part.title, part.getAttribute('aria-label'), part.innerText];
      words.push(part.labels?.[0]?.innerText, part.querySelector('img')?.alt);
      return !words.some(one => one && one.trim());
    }).map(part => part.outerHTML.slice(0, 160))"""
    assert browser.value(nameless) == []
    assert browser.value("document.documentElement.lang") == "en"
    assert browser.value("document.querySelector('#mesh canvas').tabIndex") == 0


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_a_phone_and_a_desk(browser, tmp_path, width):
    """No scrolling sideways. XRAY_DEMO_SHOTS=folder keeps the pictures to look at."""
    browser.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 640)
    try:
        browser.wait(f"innerWidth === {width}")
        assert browser.value("document.documentElement.scrollWidth") <= width
        wide = """Array.from(document.querySelectorAll('button, img, canvas, iframe, input, .block')).filter(part => {
          const box = part.getBoundingClientRect();
          return box.width && box.right > innerWidth + 1 && !part.closest('.strip');
        }).map(part => part.outerHTML.slice(0, 120))"""
        assert browser.value(wide) == []
        cut = """Array.from(document.querySelectorAll('input[type=number]')).filter(field => {
          const [box, frame] = [field, field.parentElement].map(part => part.getBoundingClientRect());
          return box.height && (box.bottom > frame.bottom + 1 || box.top < frame.top - 1);
        }).map(field => field.outerHTML.slice(0, 120))"""
        assert browser.value(cut) == []
        height = browser.value("document.documentElement.scrollHeight")
        shot = browser.screenshot({"x": 0, "y": 0, "width": width, "height": height}, beyond=True)
        folder = Path(os.environ.get("XRAY_DEMO_SHOTS", tmp_path))
        (folder / f"demo_{width}.png").write_bytes(shot)
        assert Image.open(io.BytesIO(shot)).width == width
    finally:
        browser.send("Emulation.clearDeviceMetricsOverride")


def test_an_example_is_chosen_by_a_click(browser):
    take_away(browser)
    browser.click("#examples img")
    browser.wait("document.querySelector('#picture img')")
    assert "/bottle.png" in browser.value("document.querySelector('#picture img').src")


def names_below(folder: Path) -> set[str]:
    """Names of all files; folders may go away meanwhile."""
    return {name for _, _, files in os.walk(folder) for name in files}


def blank(path: Path) -> None:
    Image.new("RGB", (200, 100), "white").save(path)


def broken(path: Path) -> None:
    path.write_bytes(PICTURE.read_bytes()[:2000])


def nothing(path: Path) -> None:
    path.write_bytes(b"no picture at all")


def huge(path: Path) -> None:
    Image.new("1", (10_000, 6_000)).save(path)


def small(path: Path) -> None:
    Image.new("RGB", (16, 100), "white").save(path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (blank, "no object in the picture"),
        (broken, "broken.png: not readable as a picture"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_picture_that_cannot_be_used_is_told_in_one_line(browser, tmp_path, make, said):
    path = tmp_path / f"{make.__name__}.png"
    make(path)
    give(browser, path)
    browser.click("#make")
    browser.wait(f"document.body.innerText.includes({said!r})")
    assert "Traceback" not in browser.text()
    assert str(ROOT) not in browser.text()
    browser.value("document.querySelectorAll('.toast-close').forEach(button => button.click())")
    browser.wait(f"!document.body.innerText.includes({said!r})")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (nothing, "nothing.png: not a picture that can be read"),
        (huge, "huge.png: 10000 x 6000 pixels, too large: expected at most 50 megapixels"),
        (small, "small.png: 16 x 100 pixels, too small: expected at least 32 on each side"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_file_that_is_no_usable_picture_is_not_taken(browser, server, tmp_path, make, said):
    path = tmp_path / f"{make.__name__}.png"
    make(path)
    take_away(browser)
    choose(browser, path, lambda: said in browser.text())
    assert not browser.value("Boolean(document.querySelector('#picture img'))")
    until(lambda: path.name not in names_below(server.folder()))
    browser.value("document.querySelectorAll('.toast-close').forEach(button => button.click())")


def test_a_picture_without_a_plain_background_is_used_with_a_warning(browser, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.jpg")
    give(browser, tmp_path / "noise.jpg")
    browser.click("#make")
    browser.wait("document.body.innerText.includes('background is not plain')")
    browser.wait("document.querySelector('#layers img')?.src.includes('noise_layers')")
    browser.wait("!document.querySelector('#npz').disabled")


def test_no_picture_and_a_file_beyond_the_limit_are_told_too(browser, tmp_path):
    take_away(browser)

    def told() -> bool:  # the button does nothing until the page has taken note that the work before has ended
        browser.click("#make")
        return "choose a picture first" in browser.text()

    until(told)
    noise = np.random.default_rng(0).integers(0, 255, (1000, 1000, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    choose(browser, tmp_path / "noise.png", lambda: "exceed the maximum allowed size of 2" in browser.text())
    assert not browser.value("Boolean(document.querySelector('#picture img'))")


def test_the_server_itself_refuses_a_file_beyond_the_limit(server):
    for content, expected in ((PICTURE.read_bytes(), 200), (bytes(1000), 415), (bytes(3_000_000), 413)):
        assert upload(server.address(), content)[0] == expected


def test_nothing_was_fetched_from_outside(browser, server):
    address = server.address()
    assert len(browser.requests) > 50
    local = (address, address.replace("http", "ws"), "data:", "blob:", "about:srcdoc")
    assert [one for one in browser.requests if not one.startswith(local)] == []
    assert server.foreign() == []


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../../../../../etc/passwd",
        "/gradio_api/file=%2Fetc%2Fpasswd",
        "/gradio_api/file={examples}/../../README.md",
        "/gradio_api/file={examples}/../shapes.py",
        "/gradio_api/file={root}/demo.py",
        "/gradio_api/file=file:///etc/passwd",
        "/gradio_api/file=http://pictures.invalid/a.png",
        "/gradio_api/file=HTTPS://pictures.invalid/a.png",
        "/gradio_api/proxy=http://pictures.invalid/a.png",
        "/static/../../../../etc/passwd",
        "/assets/%2e%2e/%2e%2e/%2e%2e/package.json",
        "/theme.css/../../etc/passwd",
    ],
)
def test_nothing_outside_the_folder_is_served(server, path):
    path = path.format(examples=ROOT / "example" / "pictures", root=ROOT)
    status, content = ask(server.address() + path)
    assert status in (403, 404), content
    assert "root:" not in content
    assert server.foreign() == []
    assert ask(f"{server.address()}/gradio_api/file={PICTURE}")[0] == 200


def join(server: Server, picture: dict, session: str, seed: int = 0) -> tuple[int, str]:
    """Ask for a picture's mesh as the page does, without the page."""
    config = json.loads(ask(f"{server.address()}/config")[1])
    number = max(range(len(config["dependencies"])), key=lambda one: len(config["dependencies"][one]["inputs"]))
    body = {"data": [picture, 2, *GUIDANCE, seed, "rays", 1, "auto"], "fn_index": number, "session_hash": session}
    return ask(f"{server.address()}/gradio_api/queue/join", body)


GUIDANCE = (1, 1)
"""Of the first and the last layer."""


def outcome(server: Server, session: str) -> str:
    """All messages of a session until it is done."""
    address = f"{server.address()}/gradio_api/queue/data?session_hash={session}"
    with urllib.request.urlopen(address, timeout=PATIENCE_S) as stream:
        return stream.read().decode()


@pytest.mark.parametrize("path", ["/etc/passwd", "{root}/README.md", "http://pictures.invalid/a.png"])
def test_a_form_cannot_name_files_of_the_server_or_addresses(server, path):
    file = {"path": path.format(root=ROOT), "orig_name": "a.png", "meta": {"_type": "gradio.FileData"}}
    session = f"s{len(path)}"
    assert join(server, file, session)[0] == 200
    messages = outcome(server, session)
    assert '"success":false' in messages
    assert '"path"' not in messages
    assert server.foreign() == []


def test_two_visitors_at_once_get_each_their_own(server):
    """Both asked before either is done; other seeds, other results, each in a folder of its own."""
    for number in (1, 2):
        assert join(server, server.example(), f"visitor{number}", seed=number)[0] == 200
    with ThreadPoolExecutor(2) as both:
        told = list(both.map(lambda number: outcome(server, f"visitor{number}"), (1, 2)))
    files = []
    for messages in told:
        assert '"success":true' in messages
        (path,) = set(re.findall(r'"path":"([^"]*_xray\.npz)"', messages))
        files.append(Path(path))
    assert files[0].parent != files[1].parent
    assert files[0].read_bytes() != files[1].read_bytes()


def test_the_queue_is_bounded(server):
    """One request at a time, two that wait: of many at once some are told to come again."""
    answers = [join(server, server.example(), f"q{number}") for number in range(8)]
    assert {status for status, _ in answers} == {200, 503}
    assert "full" in next(content for status, content in answers if status == 503)
