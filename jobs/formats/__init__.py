"""How accepted rows are stored: Parquet, a Lance table, WebDataset shards, image folders."""

from __future__ import annotations

from enum import StrEnum

from jobs.formats.base import DataFormat
from jobs.formats.imagefolder import ImageFolderFormat
from jobs.formats.lance import LanceFormat
from jobs.formats.parquet import ParquetFormat
from jobs.formats.webdataset import WebDatasetFormat

__all__ = ["FORMATS", "DataFormat", "ParquetFormat", "SinkFormat"]


class SinkFormat(StrEnum):
    """How a sink's accepted rows are stored."""

    PARQUET = "parquet"
    LANCE = "lance"
    WEBDATASET = "webdataset"
    IMAGEFOLDER = "imagefolder"


FORMATS: dict[SinkFormat, DataFormat] = {
    SinkFormat.PARQUET: ParquetFormat(),
    SinkFormat.LANCE: LanceFormat(),
    SinkFormat.WEBDATASET: WebDatasetFormat(),
    SinkFormat.IMAGEFOLDER: ImageFolderFormat(),
}
