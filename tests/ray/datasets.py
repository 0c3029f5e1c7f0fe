"""What a job left in its sink, read without any of the project's code."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.dataset as pads


def rows(sink: Path, folder: str = "data") -> pd.DataFrame:
    """All rows of a folder of parts, in the order of their ids."""
    parts = sorted((sink / folder).glob("*.parquet"))
    if not parts:
        return pd.DataFrame()
    frame = pads.dataset([str(part) for part in parts]).to_table().to_pandas()
    return frame.sort_values("row_id").reset_index(drop=True)


def outcomes(sink: Path) -> pd.DataFrame:
    """One line per source row, in the order of their ids."""
    parts = sorted((sink / "_latentmill" / "outcomes").glob("*.parquet"))
    frame = pads.dataset([str(part) for part in parts]).to_table().to_pandas()
    return frame.sort_values("source_id").reset_index(drop=True)


def files(sink: Path) -> dict[str, set[str]]:
    """Names of the parts in every folder."""
    folders = ("data", "rejects", "_latentmill/outcomes")
    return {folder: {path.name for path in (sink / folder).glob("*")} for folder in folders}
