"""The page about security promises nothing that nobody holds."""

import re

import pytest

from contract.test_house import ROOT

PAGE = (ROOT / "SECURITY.md").read_text()
NAMED = sorted(set(re.findall(r"`((?:tests|deploy|crds|operator)/[\w./-]+(?:::\w+)?)`", PAGE)))
TABLES = [part for part in PAGE.split("\n## ") if "Held by |\n" in part]


@pytest.mark.parametrize("named", NAMED)
def test_what_holds_a_promise_is_there(named: str) -> None:
    file, _, test = named.partition("::")

    assert (ROOT / file).is_file()
    assert not test or re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(), re.M)


def test_whoever_may_be_an_attacker_has_a_table() -> None:
    titles = {part.partition("\n")[0] for part in TABLES}

    assert titles == {
        "Who may do what",
        "A malicious tenant",
        "A malicious alert label",
        "A stolen intake token",
        "A compromised Prometheus or Alertmanager",
        "A compromised operator pod",
        "The kill switch",
        "Two replicas that both believe to lead",
    }


def test_every_line_of_a_table_says_who_holds_it() -> None:
    lines = [line for part in TABLES for line in part.splitlines() if line.startswith("| ")]
    rows = [line for line in lines if not line.endswith("| Held by |")]
    silent = [row for row in rows if not row.rstrip(" |").endswith("`")]

    assert silent == []
