"""``latentmill replay``: rows made again and compared."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.commands import common

if TYPE_CHECKING:
    from jobs.replay.replaying import ReplayedRow


@click.command()
@click.argument("sink")
@click.argument("ids", metavar="ID...", nargs=-1)
@click.option("--sample", type=click.IntRange(min=1), help="So many rows chosen at random.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the choice.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for the pictures, as stored and as made."
)
@common.as_json
def replay(sink: str, ids: Sequence[str], sample: int | None, seed: int, out: Path | None, as_json: bool) -> None:
    """Make rows of a sink again, from the recorded job, and say how far off they are; exit code 1 if one is too far.

    ID is a row's id, or a source row's: all that it became.
    """
    if not ids and sample is None:
        raise click.UsageError("name rows, or a number of random ones with --sample")
    from jobs.replay.replaying import replay as replayed
    from jobs.replay.show import shown
    from jobs.stores.store import Store

    told = replayed(Store.at(sink), ids, sample=sample, seed=seed)
    if out is not None:
        for row in told.rows:
            _keep(row, out)
    click.echo(json.dumps(told.as_json()) if as_json else shown(told))
    if not told.within:
        sys.exit(common.FAILED)


def _keep(row: ReplayedRow, folder: Path) -> None:
    from jobs.formats import naming

    for column, pictures in row.pictures.items():
        for name, data in zip(("stored", "made"), pictures, strict=True):
            path = Path(folder, f"{naming.key(row.row_id)}.{column}.{name}.{naming.ending(data)}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
