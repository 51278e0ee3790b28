"""The texts of the console as its modules write them, and the translations as the browser would read them."""

import json
import re
import subprocess
from pathlib import Path

from filestead.api.console.assets import FOLDER
from tests.support.preflight import find

CALL = re.compile(r"""\bt\(\s*(['"])(?P<text>(?:\\.|(?!\1).)*)\1""")
PLURAL = re.compile(r"""\btn\([^'"]*?,\s*'(?P<one>(?:\\.|[^'])*)',\s*'(?P<other>(?:\\.|[^'])*)'""")
STATUS_TEXTS = re.compile(r"STATUS_TEXTS = \{(.*?)\}", re.DOTALL)


def modules() -> list[Path]:
    """Our own modules; not those of others, nor the translations."""
    return [path for path in sorted(FOLDER.rglob("*.js")) if path.parent.name not in ("vendor", "lang")]


def used_texts() -> tuple[set[str], set[str]]:
    """Every text that is translated, and every text with plural forms (by its English plural)."""
    texts, plurals = set(), set()
    for path in modules():
        source = path.read_text()
        texts |= {match["text"].replace("\\'", "'") for match in CALL.finditer(source)}
        plurals |= {match["other"].replace("\\'", "'") for match in PLURAL.finditer(source)}
        for block in STATUS_TEXTS.findall(source):
            texts |= set(re.findall(r":\s*'([^']+)'", block))
    return texts, plurals


def translations(language: str) -> dict[str, str | dict[str, str]]:
    """The dictionary of a language, read by Node."""
    node = find("node")
    assert node is not None
    code = f"import({json.dumps(str(FOLDER / 'lang' / f'{language}.js'))}).then((m) => console.log(JSON.stringify(m.default)))"
    done = subprocess.run([node, "-e", code], capture_output=True, text=True, check=True, timeout=30)
    found: dict[str, str | dict[str, str]] = json.loads(done.stdout)
    return found
