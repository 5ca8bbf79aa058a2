"""What every page of a report must keep to, looked at in a browser: `python -m tests.gates reports/quick`.

HTML by html5lib; in headless Chromium, by its own protocol: no request, no error of a script, axe-core's rules in
light and dark, nothing wider than the window at three widths and in print, no text of a figure under 9 pixels or on
another.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
AXE = ROOT / ".cache/browser/node_modules/axe-core/axe.min.js"
WIDTHS = (390, 768, 1280)
#: Kilobytes a page may have; the index is read first, on whatever line.
LARGEST, LARGEST_INDEX = 1000, 300
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    "--remote-debugging-port=0",
]


def missing() -> str:
    """Why no browser can be asked here; empty where one can."""
    if not chromium():
        return "no Chromium (Debian: apt-get install chromium)"
    try:
        import websocket  # noqa: F401
    except ImportError:
        return "no websocket-client (pip install websocket-client)"
    return "" if AXE.is_file() else f"no axe-core (npm install --prefix {AXE.parents[2]} axe-core)"


def chromium() -> str | None:
    """The browser's program."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """One tab of a headless Chromium."""

    def __init__(self, address: str) -> None:
        import websocket

        self._socket = websocket.create_connection(address, timeout=60, suppress_origin=True)
        self._count = 0
        self.events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol; what happens meanwhile goes to `events`."""
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])
            self.events.append(answer)

    def close(self) -> None:
        """End the talk with the tab."""
        self._socket.close()

    def open(self, page: Path) -> None:
        """Load a page and wait until it is there."""
        self.events.clear()
        self.send("Page.navigate", url=page.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(json.loads(self._socket.recv()))

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
    """A Chromium with one tab, ended at the end."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [str(chromium()), *FLAGS, f"--user-data-dir={folder}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = Path(folder) / "DevToolsActivePort"
            for _ in range(600):
                if port.is_file() and port.read_text().count("\n") >= 1:
                    break
                time.sleep(0.1)
            at = f"http://127.0.0.1:{port.read_text().splitlines()[0]}/json"
            with urllib.request.urlopen(at, timeout=60) as answer:
                tabs = json.load(answer)
            tab = Browser(next(tab for tab in tabs if tab["type"] == "page")["webSocketDebuggerUrl"])
            yield tab
            tab.close()
        finally:
            process.kill()
            process.wait()


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
      const drawn = text.querySelector("[transform*='scale']");
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
    count = 0
    with browser() as tab:
        for page in sorted(Path(sys.argv[1]).glob("*.html")):
            for fault in [*html_errors(page), *faults(tab, page)]:
                print(f"{page.name}: {fault}")
                count += 1
    print(f"{count} faults")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
