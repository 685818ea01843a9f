"""Log lines: machine-readable, or for people, and without secrets."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from remediator.adapters.logging import configure


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)


def test_a_record_is_one_json_object_with_its_facts() -> None:
    stream = io.StringIO()
    configure("INFO", stream=stream)

    logging.getLogger("remediator.x").info("step %s", "held", extra={"run": "shop/x", "attempt": 2, "k8s_ref": {}})

    line = json.loads(stream.getvalue())
    assert line.pop("time").startswith("20")
    assert line == {
        "level": "info",
        "logger": "remediator.x",
        "message": "step held",
        "run": "shop/x",
        "attempt": 2,
    }


def test_secrets_are_taken_out_of_message_facts_and_tracebacks() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    log = logging.getLogger("remediator.x")

    log.warning("password=hunter2hunter2", extra={"error": "password=hunter2hunter2"})
    try:
        raise ValueError("password=hunter2hunter2")
    except ValueError:
        log.exception("failed")

    assert "hunter2" not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 2


def test_people_get_one_plain_line() -> None:
    stream = io.StringIO()
    configure("DEBUG", human=True, stream=stream)

    logging.getLogger("remediator.x").debug("step held", extra={"run": "shop/x"})

    assert stream.getvalue().rstrip().endswith("DEBUG   step held  run=shop/x")


def test_apprise_says_nothing() -> None:
    stream = io.StringIO()
    configure("DEBUG", stream=stream)

    logging.getLogger("apprise").error("could not post to https://hooks.example.com/secret")

    assert stream.getvalue() == ""
