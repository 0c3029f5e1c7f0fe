"""``latentmill export``: a finished sink as a dataset to train on and to publish."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click
from pydantic import ValidationError

from jobs.commands import common
from jobs.export.options import Layout, Options, Preset
from operators.errors import SpecError


@click.command()
@click.argument("sink")
@click.argument("target")
@click.option(
    "--preset", required=True, type=click.Choice([each.value for each in Preset]), help="Whose columns the dataset has."
)
@click.option(
    "--format",
    "layout",
    type=click.Choice([each.value for each in Layout]),
    default=Layout.PARQUET.value,
    show_default=True,
    help="How the dataset's files are laid out.",
)
@click.option("--columns", multiple=True, metavar="NEW=OLD", help="Take the sink's column OLD as NEW.")
@click.option("--split", default="train", show_default=True, help="Name of the split.")
@click.option("--validation", metavar="1%", help="Share of source rows that go to a split `validation`.")
@click.option("--instruction", metavar="TEXT", help="Words of instructions, as in `turn the {from} into {to}`.")
@click.option("--license", help="Licence of the dataset, as the hub calls it: apache-2.0, cc-by-4.0, ...")
@click.option("--source-license", help="Licence of what the job read.")
@click.option("--drop-lineage", is_flag=True, help="Leave out the columns that lead back to the source.")
@click.option("--shard-rows", type=click.IntRange(min=1), help="Rows of a file at the most; about 128 MB without it.")
@click.option("--overwrite", is_flag=True, help="Replace the dataset that is there.")
@click.option("--partial", is_flag=True, help="Take what a run that has not ended has committed so far.")
@common.as_json
def export(
    sink: str,
    target: str,
    columns: Sequence[str],
    layout: str,
    drop_lineage: bool,
    overwrite: bool,
    partial: bool,
    as_json: bool,
    **given: object,
) -> None:
    """Write a finished sink as a dataset, with a card and Croissant metadata; after a kill, run it again."""
    from jobs.export.run import export as write
    from jobs.show import table

    options = _options({**given, "columns": dict(map(_pair, columns)), "format": layout, "lineage": not drop_lineage})
    told = write(sink, target, options, overwrite=overwrite, partial=partial, progress=_progress)
    if as_json:
        click.echo(json.dumps(told.as_json()))
        return
    lines = [(f"rows, {split}", f"{rows:,}") for split, rows in told.rows.items()]
    lines += [("columns", ", ".join(told.columns)), ("files", f"{told.files:,}, {told.bytes:,} bytes")]
    click.echo(table([*lines, ("written to", told.target)]))


def _pair(text: str) -> tuple[str, str]:
    new, equals, old = text.partition("=")
    if not equals or not new or not old:
        raise SpecError("write it as NEW=OLD, as in text=caption", f"--columns {text}")
    return new, old


def _options(given: dict[str, Any]) -> Options:
    try:
        return Options.model_validate(given)
    except ValidationError as error:
        fault = error.errors()[0]
        name = str(fault["loc"][0]) if fault["loc"] else ""
        about = Options.model_fields[name].description if name else ""
        told = str(fault["ctx"]["error"]) if fault["type"] == "value_error" else f"{fault['input']!r} won't do: {about}"
        raise SpecError(told, f"--{name}" if name else "") from error


def _progress(done: int, files: int) -> None:
    """How far it is, on a terminal."""
    if sys.stderr.isatty():
        click.echo(f"\r{done:,} of {files:,} files", err=True, nl=done == files)
