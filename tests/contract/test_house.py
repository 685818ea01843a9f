"""What is true of the repository as a whole."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "operator" / "remediator"


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def test_the_folder_operator_is_no_package_and_hides_no_module() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()
    found = subprocess.run(
        [sys.executable, "-c", "import collections, operator; print(operator.__file__)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(ROOT) not in found.stdout


def test_the_architecture_names_every_package_and_no_other() -> None:
    text = (ROOT / "operator" / "ARCHITECTURE.md").read_text()
    table = text.split("## Who may import whom")[1].split("\n## ")[0]
    named = set(re.findall(r"^\| `([a-z]+)` \|", table, re.M))
    there = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    there |= {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__", "settings"}

    assert named == there


def test_every_runtime_dependency_says_why_it_is_there() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    block = text.split("\ndependencies = [")[1].split("\n]")[0]
    silent = [line for line in block.splitlines() if line.strip().startswith('"') and "#" not in line]

    assert silent == []


def test_every_pinned_requirement_has_a_hash_and_no_file_names_an_index() -> None:
    for lock in (ROOT / "requirements").glob("*.lock"):
        text = lock.read_text()
        pins = re.findall(r"^[A-Za-z0-9_.\[\]-]+==", text, re.M)
        assert len(pins) == len(re.findall(r"^[A-Za-z0-9_.\[\]-]+==.*\\\n    --hash=", text, re.M))
    hosts = ["py" + "pi.org", "pythonhosted" + ".org", "proxy.golang" + ".org", "registry.npm" + "js.org"]
    for path in tracked():
        if (
            path.suffix in {".py", ".toml", ".lock", ".md", ".yaml", ".mod", ".sum", ""}
            and path.stat().st_size < 2_000_000
        ):
            text = path.read_text(errors="ignore")
            assert not [host for host in hosts if host in text], path


@pytest.mark.parametrize("word", ["utils", "helpers", "common", "manager", "processor", "service"])
def test_no_module_is_named_after_nothing(word: str) -> None:
    assert list(PACKAGE.rglob(f"{word}.py")) == []


def test_only_the_boundaries_catch_everything() -> None:
    broad = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if re.search(r"except (Exception|BaseException)\b", path.read_text())
    }

    # the work queue, the HTTP server and its counterpart that polls, the lanes that hand what was raised on to whoever waits for it, and
    # the parser of queries, whose panics are no Exceptions
    assert broad <= {
        "handlers/queue.py",
        "handlers/intake.py",
        "handlers/polling.py",
        "handlers/lanes.py",
        "domain/promql.py",
    }


def test_every_decision_is_one_page() -> None:
    for page in (ROOT / "operator" / "decisions").glob("*.md"):
        text = page.read_text()
        assert all(part in text for part in ("**Context.**", "**Decision.**", "**Given up.**")), page.name
        assert len(text.splitlines()) < 60, page.name
