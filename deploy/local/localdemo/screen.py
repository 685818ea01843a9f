"""
What the demo says: one line for each part, with how long it took.

On a terminal the part that is under way is shown with its seconds; elsewhere lines are only ever appended.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

QUIET_SECONDS: Final = 5.0
"""How often a part that goes on is heard of where there is no terminal."""


class Seconds(ProgressColumn):
    """How long it has been going on, where the line of a part that is over says how long it took."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.elapsed or 0:5.1f} s ", style="dim")


class Part:
    """One part while it is under way."""

    def __init__(self, screen: "Screen", name: str, doing: str, progress: Progress | None) -> None:
        self._screen = screen
        self._name = name
        self._progress = progress
        self._task = progress.add_task(f"{name:<11} {doing}") if progress is not None else TaskID(0)
        self._began = self._spoke = time.monotonic()
        self.result = doing

    @property
    def seconds(self) -> float:
        """How long it has been going on."""
        return time.monotonic() - self._began

    def going_on(self, text: str) -> None:
        """It is at this now; what has been built is worth a line that stays."""
        if self._progress is not None:
            self._progress.update(self._task, description=f"{self._name:<11} {text}")
        if text.startswith("built ") or (self._progress is None and time.monotonic() - self._spoke > QUIET_SECONDS):
            self._spoke = time.monotonic()
            self._screen.line(f"           … {text}", quiet=True)

    def done(self, result: str) -> None:
        """What its line says when it is over."""
        self.result = result


class Screen:
    """Where the demo speaks; it remembers how long each part took."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self.took: list[tuple[str, float]] = []

    @contextmanager
    def part(self, name: str, doing: str) -> Iterator[Part]:
        """The part runs in the body, and has its line when that ends."""
        progress = self._progress() if self.console.is_terminal else None
        part = Part(self, name, doing, progress)
        try:
            if progress is not None:
                progress.start()
            yield part
        except BaseException:
            self._over(progress)
            self.line(f"  {part.seconds:5.1f} s  {name:<11} not done: {doing}", style="red")
            raise
        self._over(progress)
        self.took.append((name, part.seconds))
        self.line(f"  {part.seconds:5.1f} s  {name:<11} {part.result}")

    def line(self, text: str = "", *, style: str = "", quiet: bool = False) -> None:
        """A line that stays; a long one is the terminal's to wrap, so that it can be copied whole."""
        self.console.print(text, style=style or ("dim" if quiet else ""), markup=False, soft_wrap=True)

    def title(self, text: str) -> None:
        """What follows is about this."""
        self.line()
        self.line(text, style="bold")

    def _progress(self) -> Progress:
        # A line that is too long for the terminal loses its end: a second one would make the picture jump.
        words = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis"))
        return Progress(SpinnerColumn(), Seconds(), words, console=self.console, transient=True)

    def _over(self, progress: Progress | None) -> None:
        if progress is not None:
            progress.stop()
