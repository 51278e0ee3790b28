"""The documents: paths and links that exist, an index that is complete, and words that are not used."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/filestead"
GENERATED = {"docs/cli.md", "docs/configuration.md"}
DOCUMENTS = sorted(
    path for folder in (".", "docs", "docs/internals", "docs/adr", "bench") for path in (ROOT / folder).glob("*.md")
)
NAMES_CODE = [path for path in DOCUMENTS if path.name == "ARCHITECTURE.md" or path.parent.name in ("internals", "adr")]
PATH = re.compile(r"`((?:src|tests|docs|deploy)/[\w./-]+|(?:[\w.-]+/)+|[\w./-]+\.(?:py|md|toml|conf|txt))`")
MODULES = {path.name for path in ROOT.glob("[st]*/**/*.py")}
WORDS = tomllib.loads((ROOT / "tests/unit/words.toml").read_text())


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def exists(page: Path, path: str) -> bool:
    """From the root, from the package, or from the folder that the page names first."""
    code = re.search(r"^Code: `(.+?)`", page.read_text(), re.MULTILINE)
    bases = (ROOT, SOURCE, ROOT / code[1] if code else ROOT)
    return path in MODULES or any((base / path).exists() for base in bases)


def docstrings(path: Path) -> Iterator[str]:
    """Of modules, classes and functions, and the strings below constants."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def unused_words(text: str, *tables: str) -> list[str]:
    return [
        f"{found[0]}: {instead}"
        for table in tables
        for word, instead in WORDS[table].items()
        for found in re.finditer(rf"\b(?:{word})\b", text, re.IGNORECASE)
    ]


@pytest.mark.parametrize("page", NAMES_CODE, ids=name_of)
def test_every_path_in_a_document_exists(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    assert [path for path in PATH.findall(text) if not exists(page, path)] == []


@pytest.mark.parametrize("page", DOCUMENTS, ids=name_of)
def test_every_link_in_a_document_leads_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, heading = target.partition("#")
        linked = page if not path else page.parent / path
        if "://" in target:
            continue
        if not linked.exists() or (heading and heading not in headings(linked)):
            broken.append(target)
    assert broken == []


def headings(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_the_index_lists_every_page_once() -> None:
    index = (ROOT / "docs/README.md").read_text()
    for page in DOCUMENTS:
        if page.parent.name in ("docs", "internals") and page.name != "README.md":
            assert index.count(f"]({page.relative_to(ROOT / 'docs')})") == 1, page
    records = (ROOT / "docs/adr/README.md").read_text()
    for page in (ROOT / "docs/adr").glob("0*.md"):
        assert records.count(f"]({page.name})") == 1, page


@pytest.mark.parametrize("page", DOCUMENTS, ids=name_of)
def test_documents_use_the_terms_of_the_field(page: Path) -> None:
    tables = ("everywhere",) if name_of(page) in GENERATED else ("everywhere", "documents")
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL)
    assert unused_words(text, *tables) == []


def test_docstrings_use_the_terms_of_the_field() -> None:
    found = {name_of(path): unused_words("\n".join(docstrings(path)), "everywhere") for path in SOURCE.rglob("*.py")}
    assert {name: words for name, words in found.items() if words} == {}


def test_the_readme_fits_two_screens() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 92
