"""
`kubectl remediate`: what people see of runs.

A verb is imported when it is used: the help is there at once, and a verb pays for its own imports.
"""

import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import click

from remediator.domain.errors import RemediatorError

PROGRAM: Final = "kubectl remediate"
INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class Verb:
    """Where a verb is, and what it does in a few words."""

    module: str
    summary: str
    name: str = "verb"
    """What the module calls it."""


VERBS: Final[Mapping[str, Verb]] = {
    "list": Verb("remediator.cli.list", "List runs, newest first"),
    "show": Verb("remediator.cli.show", "Tell the whole story of one run"),
    "explain": Verb("remediator.cli.explain", "Say why a run did what it did"),
    "debts": Verb("remediator.cli.debts", "List what will be taken back, and when"),
    "approve": Verb("remediator.cli.replying", "Approve the plan that a run asks about", "approve"),
    "deny": Verb("remediator.cli.replying", "Deny the plan that a run asks about", "deny"),
    "ack": Verb("remediator.cli.replying", "Say that you look after a run", "ack"),
    "answer": Verb("remediator.cli.replying", "Answer what a run asks", "answer"),
    "undo": Verb("remediator.cli.replying", "Have what a run has changed taken back", "undo"),
    "stop": Verb("remediator.cli.replying", "Stop a run before its next change", "stop"),
    "guardrails": Verb("remediator.cli.guardrails", "Show what all Guardrails say of a namespace"),
    "whatcan": Verb("remediator.cli.whatcan", "Show what may be changed in a namespace, and what is missing"),
    "grant": Verb("remediator.cli.grant", "Let the runs of a namespace do some actions"),
    "suspend": Verb("remediator.cli.suspend", "Suspend everything: the kill switch"),
    "resume": Verb("remediator.cli.resume", "Resume after suspend"),
    "status": Verb("remediator.cli.status", "Say whether everything is suspended, and what there is to do"),
}

HELP: Final = """\
See what Remediator did to a cluster and why, and have a say in it.

A run is one Runbook carried out for one alert and one object. RUN may be the beginning or the end of
its name, as long as only one run fits.

\b
Examples:
  kubectl remediate list -A --open        what is going on
  kubectl remediate list -n shop -w       follow the runs of a namespace
  kubectl remediate show 3-1 -n shop      the story of the run whose name ends in 3-1
  kubectl remediate explain 3-1 -n shop   why that remedy, what holds it, why it ended so
  kubectl remediate debts -A              what will be taken back, and when
  kubectl remediate approve 3-1 -n shop   agree to the plan that it asks about
  kubectl remediate whatcan -n shop       what may be changed there, and what is missing
  kubectl remediate suspend --reason TEXT stop everything, now
"""


class Plugin(click.Group):
    """The group of verbs; it ends with one sentence and an exit code, never with a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        command: click.Command = getattr(importlib.import_module(verb.module), verb.name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.summary) for name, verb in VERBS.items()])

    def main(  # type: ignore[override]  # click tells two ways to end apart; here there is one
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        extra.pop("standalone_mode", None)
        try:
            code = super().main(args, prog_name or PROGRAM, standalone_mode=False, **extra)
        except click.ClickException as wrong:
            wrong.show()
            sys.exit(wrong.exit_code)
        except (KeyboardInterrupt, click.Abort):
            sys.exit(INTERRUPTED)
        except RemediatorError as error:
            from remediator.cli.errors import sentence
            from remediator.cli.text import shown

            click.echo(f"Error: {shown(sentence(error))}", err=True)
            sys.exit(1)
        sys.exit(code if isinstance(code, int) else 0)


def _version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if not asked or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        click.echo(f"{PROGRAM} {version('remediator')}")
    except PackageNotFoundError:
        click.echo(f"{PROGRAM}, from its source")
    ctx.exit()


@click.group(cls=Plugin, help=HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def plugin() -> None:
    """See `HELP`."""


def main() -> None:
    """The console script `kubectl-remediate`."""
    plugin.main()


if __name__ == "__main__":
    main()
