"""``latentmill report``: one HTML page that shows what a sink holds."""

from __future__ import annotations

from pathlib import Path

import click

from operators.errors import UserError


@click.command()
@click.argument("sink")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True, help="File to write."
)
@click.option("--rows", type=click.IntRange(1, 2000), default=300, show_default=True, help="Rows to show at the most.")
@click.option(
    "--price-per-hour",
    type=click.FloatRange(min=0),
    help="Price of an accelerator for an hour; of a machine, where there are none.",
)
@click.option("--open", "opened", is_flag=True, help="Open it in the browser.")
def report(sink: str, out: Path, rows: int, price_per_hour: float | None, opened: bool) -> None:
    """Show a sink in one HTML page: pictures, scores, rejects, speed, cost and lineage.

    The job may be running. The page is one file that needs no network.
    """
    from jobs.reporting.page import page
    from jobs.reporting.report import report as made
    from jobs.stores.store import Store

    if not out.parent.is_dir():
        raise UserError(f"there is no folder {out.parent}; make it, or give another --out")
    text = page(made(Store.at(sink), rows, price_per_hour))
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{out} can't be written: {error.strerror}") from error
    click.echo(f"{out}: {len(text.encode()) / 1e6:.1f} MB")
    if opened:
        click.launch(out.absolute().as_uri())
