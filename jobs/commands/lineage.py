"""``latentmill lineage``: where a row came from."""

from __future__ import annotations

import json

import click

from jobs.commands import common


@click.command()
@click.argument("sink")
@click.argument("row_id", metavar="ID")
@common.as_json
def lineage(sink: str, row_id: str, as_json: bool) -> None:
    """Tell what a row of a sink came from: every step, model, seed and version, back to the source's bytes.

    ID is a row's id, or a source row's: all that it became.
    """
    from jobs.lineage.show import shown
    from jobs.lineage.tree import lineage as traced
    from jobs.stores.store import Store

    trees = traced(Store.at(sink), row_id)
    rows = [tree.as_json() for tree in trees]
    click.echo(json.dumps({"id": row_id, "rows": rows}) if as_json else shown(trees))
