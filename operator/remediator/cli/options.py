"""The options that every verb has, and what they come to."""

import os
import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, TypeVar

import click

from remediator.cli.connect import OPERATOR_NAMESPACE, Connect, Connected, Wanted, connected
from remediator.cli.text import UNBOUNDED

T = TypeVar("T")

SCREEN: Final = "table"
"""The form for people; verbs that tell a story call it `text`."""


@dataclass(frozen=True, slots=True)
class Screen:
    """Where the output goes: how wide it is, and whether it is a terminal with colours."""

    width: int = UNBOUNDED
    colour: bool = False
    is_terminal: bool = False

    @classmethod
    def of_this_process(cls, *, no_color: bool, environment: Mapping[str, str] = os.environ) -> "Screen":
        """Lines stay whole where the output is no terminal, unless COLUMNS says how wide they may be."""
        is_terminal = sys.stdout.isatty()
        bounded = is_terminal or environment.get("COLUMNS", "").isdigit()
        dull = no_color or bool(environment.get("NO_COLOR")) or environment.get("TERM", "") in ("", "dumb")
        width = max(shutil.get_terminal_size((100, 24)).columns, 40) if bounded else UNBOUNDED
        return cls(width, is_terminal and not dull, is_terminal)


@dataclass(frozen=True, slots=True)
class Common:
    """What the common options of one invocation said."""

    wanted: Wanted
    output: str
    screen: Screen
    connect: Connect = connected

    def run(self, verb: Callable[[Connected], Awaitable[T]]) -> T:
        """Carry the verb out on the cluster that the options name."""
        import asyncio  # a tenth of a second that a help text does not need

        async def connected_verb() -> T:
            async with self.connect(self.wanted) as ports:
                return await verb(ports)

        return asyncio.run(connected_verb())


def common(*forms: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The common options; the verb gets them as its first argument, `common`."""

    def decorated(verb: Callable[..., None]) -> Callable[..., None]:
        @click.option("-n", "--namespace", default="", metavar="NAME", help="Namespace; default: that of the context.")
        @click.option(
            "-o",
            "--output",
            type=click.Choice(forms),
            default=forms[0],
            show_default=True,
            metavar="|".join(forms),
            help="How it is shown.",
        )
        @click.option("--kubeconfig", default="", metavar="PATH", help="The kubeconfig; default: as kubectl.")
        @click.option("--context", default="", metavar="NAME", help="A context of it; default: the current one.")
        @click.option(
            "--operator-namespace",
            default=OPERATOR_NAMESPACE,
            show_default=True,
            metavar="NAME",
            help="Where the operator and the Runbooks' frozen contents are.",
        )
        @click.option("--no-color", is_flag=True, help="No colours on a terminal; NO_COLOR does the same.")
        @click.pass_context
        @wraps(verb)
        def with_options(
            ctx: click.Context,
            /,
            namespace: str,
            output: str,
            kubeconfig: str,
            context: str,
            operator_namespace: str,
            no_color: bool,
            **rest: Any,
        ) -> None:
            given = Common(
                wanted=Wanted(kubeconfig, context, namespace, operator_namespace),
                output=output,
                screen=Screen.of_this_process(no_color=no_color),
                connect=ctx.obj if ctx.obj is not None else connected,
            )
            verb(given, **rest)

        return with_options

    return decorated
