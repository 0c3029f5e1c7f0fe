"""``latentmill pie-bench``: methods of ``edit`` on PIE-Bench, and its table."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from jobs.commands import common


@click.command("pie-bench")
@click.argument("folder")
@click.option("--methods", required=True, help="Methods of `edit`, as in pix2pix_zero,diffedit.")
@click.option("--out", "sink", required=True, help="Where rows, scores and the table go.")
@click.option("--model", help="A Stable Diffusion model, for methods that don't have one of their own.")
@click.option("--limit", type=click.IntRange(min=1), help="Take only the first so many pictures.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="A.B=C",
    help="Change an option of a method, of the scores or of resources, as in diffedit.steps=20.",
)
@click.option("--address", help="Ray cluster to run on, as in `auto`; without it, one on this machine.")
@common.take_over
@common.as_json
def pie_bench(
    folder: str,
    methods: str,
    sink: str,
    model: str | None,
    limit: int | None,
    changes: Sequence[str],
    address: str | None,
    take_over: bool,
    as_json: bool,
) -> None:
    """Run methods on PIE-Bench in FOLDER as one job, and print its table; the table is kept beside the rows.

    Run again after a fault, it goes on where it stopped.
    """
    from jobs.pie_bench.job import benchmark

    chosen = [method.strip() for method in methods.split(",")]
    made = benchmark(folder, chosen, sink, model, limit, changes).plan()
    common.listen_on_loopback_only(address)
    from jobs.pie_bench.table import Table
    from jobs.progress import console_on
    from jobs.quiet import others_held_back
    from jobs.runner import run
    from jobs.sink.rows import SinkRows
    from jobs.stores.store import Store

    with others_held_back() as stderr:
        summary = run(made, address, console_on(stderr), take_over=take_over)
    store = Store.at(sink)
    table = Table.of(SinkRows.of(store), chosen)
    lines = json.dumps(table.as_json())
    for ending, text in (("md", table.as_markdown()), ("csv", table.as_csv()), ("json", lines)):
        store.put(f"pie_bench.{ending}", text.encode())
    click.echo(lines if as_json else table.as_markdown(), nl=as_json)
    rejected, _ = summary.rejected_of_all()
    if rejected:
        click.echo(f"latentmill: {rejected} pictures were rejected, and are in no method's means", err=True)
