"""What the demo installs: this repository's files, with other waits and addresses."""

import base64
import io

from rich.console import Console

from localdemo.manifests import FOLDER, PLAYBOOK, alertmanager_config, loaded, playbook, receivers
from localdemo.screen import Screen
from remediator.actions import registry
from remediator.engine.acceptance import accept_policy, accept_runbook


def test_the_playbook_is_accepted_with_the_demos_waits() -> None:
    runbook, policy = playbook()

    book = accept_runbook("remediator-system", "pod-crash-loop", "uid", 1, runbook["spec"], registry)
    accepted = accept_policy(
        "shop", "pod-crash-loop", "uid", 1, policy["spec"], book, "remediator-system", can_ask=True
    )

    assert accepted.matchers


def test_only_waits_are_shorter() -> None:
    shipped, installed = loaded(PLAYBOOK / "runbook.yaml"), playbook()[0]

    for runbook in (shipped, installed):
        for holder in (runbook["spec"], *runbook["spec"]["remedies"]):
            for check in holder.get("verify", []):
                for bounds in check.values():
                    for wait in ("for", "every", "quietFor"):
                        bounds.pop(wait, None)
    assert installed == shipped


def test_the_playbook_is_for_the_alert_of_the_rule() -> None:
    (rule,) = loaded(FOLDER / "rules.yaml")["groups"][0]["rules"]

    matchers = " ".join(playbook()[1]["spec"]["matchers"])

    assert rule["alert"] in matchers
    assert rule["labels"]["severity"] in matchers


def test_everybody_whom_the_playbook_tells_something_is_a_receiver() -> None:
    runbook = {"spec": {"otherwise": [{"escalate": {"to": "lead"}}], "finally": [{"notify": {"to": "team"}}]}}

    secret = receivers(runbook, "json://127.0.0.1:1")

    assert {name: base64.b64decode(url).decode() for name, url in secret["data"].items()} == {
        "default": "json://127.0.0.1:1/default",
        "lead": "json://127.0.0.1:1/lead",
        "team": "json://127.0.0.1:1/team",
    }


def test_alertmanager_sends_to_the_operator_without_waiting() -> None:
    config = alertmanager_config({"url": "http://127.0.0.1:1/v1/alerts"})

    first = config["route"]["routes"][0]
    hooks = {one["name"]: one.get("webhook_configs") for one in config["receivers"]}
    assert first["group_wait"] == "1s"
    assert hooks[first["receiver"]][0]["url"] == "http://127.0.0.1:1/v1/alerts"


def test_without_a_terminal_a_part_is_one_plain_line() -> None:
    said = io.StringIO()
    screen = Screen(Console(file=said, width=80))

    with screen.part("shop", "deploying") as part:
        part.going_on("waiting")
        part.done("it serves")

    assert said.getvalue() == "    0.0 s  shop        it serves\n"
    assert [name for name, _ in screen.took] == ["shop"]


def test_a_part_that_fails_says_what_was_not_done() -> None:
    said = io.StringIO()
    screen = Screen(Console(file=said, width=80))

    try:
        with screen.part("shop", "deploying"):
            raise RuntimeError("no")
    except RuntimeError:
        screen.line("the error goes on")

    assert said.getvalue() == "    0.0 s  shop        not done: deploying\nthe error goes on\n"
    assert screen.took == []


def test_on_a_terminal_a_part_shows_its_seconds_while_it_is_under_way() -> None:
    said = io.StringIO()
    screen = Screen(Console(file=said, width=80, force_terminal=True, color_system=None))

    with screen.part("shop", "deploying [really]") as part:
        part.going_on("waiting for [both]")

    assert "shop        waiting for [both]" in said.getvalue()
