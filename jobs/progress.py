"""How a run goes while it goes on: in a bar with a table on a terminal, elsewhere in lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from jobs.sink.pace import Pace, Paces, per_second
from jobs.summary import Summary
from jobs.wording import rejected_by_code, spell

_LINE_SECONDS = 5.0
"""Between two lines that tell how a run goes."""


class Progress:
    """A run's figures as they are now.

    Args:
        summary: what is counted.
        rows: of the source, if they are known.
        clock: seconds of any beginning.
    """

    def __init__(self, summary: Summary, rows: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.summary = summary
        self.rows = rows
        self._pace, self._step_paces = Pace(clock), Paces(clock)
        self._lately: float | None = None
        self.steps: dict[str, float] = {}
        """Rows per second of every step, all its actors together, over the last minute."""

    def update(self) -> None:
        """Take in what the summary has counted."""
        self._lately = self._pace.told(self.summary.rows_in)
        self.steps = self._step_paces.told({name: step.rows for name, step in self.summary.steps.items()})

    @property
    def done(self) -> int:
        """Source rows with an outcome, of this run and earlier ones."""
        return self.summary.rows_before + self.summary.rows_in

    @property
    def rate(self) -> float | None:
        """Source rows per second: over the last minute, or else since the first step of the first part."""
        return self._lately or per_second(self.summary.rows_in, self.summary.working_seconds)

    @property
    def seconds_left(self) -> float | None:
        """At that rate."""
        return None if self.rows is None else per_second(max(self.rows - self.done, 0), self.rate)

    @property
    def outcomes(self) -> list[str]:
        """Rows by what became of them; of those with a reason, each reason."""
        counts = {"accepted": self.summary.rows_out, "filtered": self.summary.filtered}
        told = [f"{count:,} {name}" for name, count in counts.items() if count]
        return told + ([rejected_by_code(self.summary.rejected)] if self.summary.rejected else [])

    @property
    def speed(self) -> list[str]:
        """Rows per second, and the time left."""
        rate, left = self.rate, self.seconds_left
        told = [f"{rate:,.1f} rows/s"] if rate else []
        return told + ([f"{spell(left)} left"] if left else [])


def console_on(file: TextIO, lines: bool = False) -> Console:
    """Where a run shows how it goes: as a bar on a terminal; elsewhere not at all, or in lines, as for a log."""
    return Console(file=file, quiet=not (lines or file.isatty()))


@contextmanager
def progress(summary: Summary, rows: int | None, console: Console) -> Iterator[Callable[[], None]]:
    """Show counts while a run goes on, in a bar on a terminal and elsewhere in lines, unless the console is ``quiet``.

    Yields:
        What to call after each part.
    """
    now = Progress(summary, rows)
    if console.is_terminal:
        with _OnTerminal(now, console) as bar:
            yield bar.show
    else:
        yield _lines(now, console)


class _TimeLeft(ProgressColumn):
    """At the rate of the last minute, and counted down between parts, which may be far apart."""

    def render(self, task: Task) -> Text:
        due = task.fields["due"]
        return Text("" if due is None else f"{spell(max(due - time.monotonic(), 0.0))} left", style="cyan")


class _OnTerminal(Bar):
    """The bar, below it what became of rows, and a line for each step."""

    def __init__(self, now: Progress, console: Console) -> None:
        self._now = now
        columns = SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[pace]}"), _TimeLeft()
        super().__init__(*columns, console=console, transient=True)
        fields: dict[str, Any] = {"pace": "starting", "due": None}
        self._task = self.add_task("rows", total=now.rows, completed=now.done, **fields)

    def show(self) -> None:
        """Show the figures as they are now."""
        self._now.update()
        rate, left = self._now.rate, self._now.seconds_left
        due = None if left is None else time.monotonic() + left
        self.update(self._task, completed=self._now.done, pace=f"{rate:,.1f} rows/s" if rate else "", due=due)

    def get_renderables(self) -> Iterable[RenderableType]:
        """All that is shown."""
        yield from super().get_renderables()
        if self._now.outcomes:
            yield Text(f"  {', '.join(self._now.outcomes)}")
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
        for name, step in self._now.summary.steps.items():
            lately = self._now.steps.get(name)
            pace = "" if lately is None else f"{lately:,.1f} rows/s"
            table.add_row("", Text(name), f"{step.rows:,} rows", pace, str(step), style="dim")
        if table.row_count:
            yield table


def _lines(now: Progress, console: Console) -> Callable[[], None]:
    due = time.monotonic()

    def update() -> None:
        nonlocal due
        now.update()
        if time.monotonic() < due:
            return
        due = time.monotonic() + _LINE_SECONDS
        rows, done = now.rows, now.done
        told = [f"{done:,} of {rows:,} rows ({done / rows:.0%})" if rows else f"{done:,} rows"]
        told += [*now.outcomes, *now.speed]
        told += [f"{name} {pace:,.1f}/s" for name, pace in now.steps.items()]
        console.print(", ".join(told), markup=False, highlight=False, soft_wrap=True)

    return update
