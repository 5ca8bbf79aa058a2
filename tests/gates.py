"""What every page of a report must keep to, looked at in a browser: `python -m tests.gates reports/quick`.

HTML by the Nu validator and html5lib; in a headless Chromium without a network: no request, no error of a script,
axe-core's rules in light and dark, nothing wider than the window at three widths and in print, no text of a figure
under 9 pixels or on another.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
AXE = ROOT / ".cache/browser/node_modules/axe-core/axe.min.js"
VNU = ROOT / ".cache/browser/node_modules/vnu-jar/build/dist/vnu.jar"
WIDTHS = (390, 768, 1280)
#: Kilobytes a page may have; the index is read first, on whatever line.
LARGEST, LARGEST_INDEX = 1000, 300
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    "--remote-debugging-pipe",
]


def missing() -> str:
    """Why no browser can be asked here; empty where one can."""
    if not chromium():
        return "no Chromium (Debian: apt-get install chromium)"
    return "" if AXE.is_file() else f"no axe-core (npm install --prefix {AXE.parents[2]} axe-core)"


def chromium() -> str | None:
    """The browser's program."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def isolated() -> list[str]:
    """What runs a command in a network namespace of its own, without a network; empty where not allowed."""
    for command in (["unshare", "--net"], ["unshare", "--net", "--map-root-user"]):
        if shutil.which("unshare") and not subprocess.run([*command, "true"], capture_output=True).returncode:
            return command
    return []


class Browser:
    """One tab of a headless Chromium, which is talked to through two pipes and needs no network for it."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self._rest = to, back, b""
        self._count = 0
        self._session: dict[str, str] = {}
        self.events: list[dict[str, Any]] = []
        tabs = self.send("Target.getTargets")["targetInfos"]
        tab = next(one["targetId"] for one in tabs if one["type"] == "page")
        self._session = {
            "sessionId": self.send("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        }
        for domain in ("Page", "Runtime", "Network"):
            self.send(f"{domain}.enable")

    def _hear(self) -> dict[str, Any]:
        """The next message; they end with a zero byte."""
        while b"\0" not in self._rest:
            if not select.select([self._back], [], [], 60)[0]:
                raise TimeoutError("Chromium has said nothing for a minute")
            if not (part := os.read(self._back, 2**16)):
                raise RuntimeError("Chromium has ended")
            self._rest += part
        message, self._rest = self._rest.split(b"\0", 1)
        return dict(json.loads(message))

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol; what happens meanwhile goes to `events`."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters} | self._session
        left = json.dumps(message).encode() + b"\0"
        while left:
            left = left[os.write(self._to, left) :]
        while True:
            answer = self._hear()
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])
            self.events.append(answer)

    def open(self, page: Path) -> None:
        """Load a page and wait until it is there."""
        self.events.clear()
        self.send("Page.navigate", url=page.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._hear())

    def ask(self, script: str) -> Any:
        """The value of an expression, a promise's included."""
        found = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"])[:500])
        return found["result"].get("value")

    def look(self, width: int, scheme: str = "light", media: str = "") -> None:
        """As a window of this width, in light or dark, on a screen or in print."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", media=media, features=features)


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A Chromium with one tab, without any network where that is allowed, ended at the end."""
    (its_in, to), (back, its_out) = os.pipe(), os.pipe()
    # numbers that are not those that Chromium reads from and writes to, 3 and 4
    its_in, its_out = (fcntl.fcntl(one, fcntl.F_DUPFD, 10) for one in (its_in, its_out))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [*isolated(), str(chromium()), *FLAGS, f"--user-data-dir={folder}", "about:blank"]
        process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{its_in} 4>&{its_out}', "bash", *command],
            pass_fds=(its_in, its_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            os.close(its_in)
            os.close(its_out)
            yield Browser(to, back)
        finally:
            process.kill()
            process.wait()
            os.close(to)
            os.close(back)


#: Names of elements that stand out of the window, scrolling boxes and what is in them aside.
WIDER = """(() => {
  const room = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= room + 1) return [];
  return [...document.querySelectorAll("body *")].filter(one => {
    for (let up = one; up && up !== document.body; up = up.parentElement)
      if (getComputedStyle(up).overflowX !== "visible") return false;
    return one.getBoundingClientRect().right > room + 1;
  }).slice(0, 5).map(one => `${one.tagName} ${one.getAttribute("class")} ${one.textContent.trim().slice(0, 40)}`);
})()"""

#: Of each figure that is shown: texts under 9 pixels, and pairs of upright texts on one another.
FIGURES = """(() => {
  const found = [];
  for (const svg of document.querySelectorAll("figure svg")) {
    if (!svg.getBoundingClientRect().width) continue;
    const name = svg.closest("figure").id, boxes = [];
    for (const text of svg.querySelectorAll('g[id*="-text_"], [data-name]')) {
      const scaled = "[transform*='scale']", drawn = text.matches(scaled) ? text : text.querySelector(scaled);
      if (!drawn) continue;
      const at = drawn.getScreenCTM(), size = 100 * Math.hypot(at.a, at.b);
      if (size < 9) found.push(`${name}: a text of ${size.toFixed(1)} px`);
      const box = text.getBoundingClientRect();
      if (Math.abs(at.b) < 1e-6) boxes.push([box.left, box.top, box.right, box.bottom]);
    }
    boxes.forEach((a, i) => boxes.slice(i + 1).forEach(b => {
      if (Math.min(a[2], b[2]) - Math.max(a[0], b[0]) > 1.5 && Math.min(a[3], b[3]) - Math.max(a[1], b[1]) > 1.5)
        found.push(`${name}: two texts at ${a.map(Math.round)} and ${b.map(Math.round)}`);
    }));
  }
  return [...new Set(found)];
})()"""


#: A rule of style, as a string of JavaScript.
SHOW = "'* { content-visibility: visible !important }'"


def html_errors(page: Path) -> list[str]:
    """What html5lib finds, and what validators reject beside: empty paths, ids that stand twice or nowhere."""
    import html5lib

    text = page.read_text(encoding="utf-8")
    parser = html5lib.HTMLParser(namespaceHTMLElements=False)
    parser.parse(text)
    errors = [f"html: {code} at {place}" for place, code, _ in parser.errors]
    bare = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    errors += [f"html: {tag[:80]}" for tag in re.findall(r"<path(?![^>]*\bd=\"[^\"]+\")[^>]*>", bare)]
    ids = re.findall(r"<[a-zA-Z][^>]*\sid=\"([^\"]*)\"", bare)
    errors += [f"html: id {one} stands twice" for one in sorted({one for one in ids if ids.count(one) > 1})]
    lost = set(re.findall(r"\shref=\"#([^\"]+)\"", bare)) - set(ids)
    errors += [f"html: nothing has the id {one} that a link or a letter asks for" for one in sorted(lost)]
    size = len(text.encode()) / 1000
    if size > (LARGEST_INDEX if page.name == "index.html" else LARGEST):
        errors.append(f"{size:.0f} kB")
    return errors


def validator() -> str:
    """Why the validator cannot be asked here; empty where it can."""
    if not shutil.which("java"):
        return "no Java (Debian: apt-get install default-jre-headless)"
    return "" if VNU.is_file() else f"no vnu (npm install --prefix {AXE.parents[2]} vnu-jar)"


def vnu_errors(pages: Sequence[Path]) -> list[str]:
    """The validator's errors on these pages, a sentence each."""
    command = ["java", "-jar", str(VNU), "--errors-only", "--exit-zero-always", "--format", "json"]
    said = subprocess.run([*command, *map(str, pages)], capture_output=True, text=True, check=True).stderr
    return [
        f"{one['url'].rsplit('/', 1)[-1]}:{one.get('lastLine', '')}: {one['message']}"
        for one in json.loads(said)["messages"]
    ]


def faults(tab: Browser, page: Path) -> list[str]:
    """What is wrong with one page in the browser, a sentence each."""
    found: list[str] = []
    tab.look(1280)
    tab.open(page)
    for event in tab.events:
        if event.get("method") == "Network.requestWillBeSent":
            url = event["params"]["request"]["url"]
            if not url.startswith("data:") and Path(url).name != page.name:
                found.append(f"asks for {url[:100]}")
        if event.get("method") == "Runtime.exceptionThrown":
            found.append(f"script: {event['params']['exceptionDetails']['text']}")
    # what a browser leaves out until it is scrolled to is looked at, too
    tab.ask(
        "document.head.append(Object.assign(document.createElement('style'), {textContent: SHOW})), 0".replace(
            "SHOW", SHOW
        )
    )
    tab.ask(AXE.read_text(encoding="utf-8") + ";0")
    for scheme in ("light", "dark"):
        tab.look(1280, scheme)
        rules = tab.ask(
            "axe.run().then(r => r.violations.filter(v => v.impact !== 'minor').map(v => [v.id, v.nodes[0].html]))"
        )
        found += [f"axe, {scheme}: {rule}: {where[:140]}" for rule, where in rules]
    for width in WIDTHS:
        tab.look(width)
        found += [f"{width} px: wider than the window: {one}" for one in tab.ask(WIDER)]
        found += [f"{width} px: {one}" for one in tab.ask(FIGURES)]
    tab.look(794, media="print")
    found += [f"print: wider than the paper: {one}" for one in tab.ask(WIDER)]
    return found


def main() -> int:
    """All pages of the folder given."""
    if reason := missing():
        print(reason)
        return 2
    pages, count = sorted(Path(sys.argv[1]).glob("*.html")), 0
    print(validator() or "\n".join(["vnu:", *(found := vnu_errors(pages))]))
    count += 0 if validator() else len(found)
    with browser() as tab:
        for page in pages:
            for fault in [*html_errors(page), *faults(tab, page)]:
                print(f"{page.name}: {fault}")
                count += 1
    print(f"{count} faults")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
