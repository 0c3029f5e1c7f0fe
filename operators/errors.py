"""One tree of errors, each with a stable code that users may build on; docs/errors.md lists them."""

from __future__ import annotations

from typing import ClassVar


class LatentmillError(Exception):
    """Whatever Latentmill itself has to say; ``code`` never changes between versions."""

    code: ClassVar[str] = "error"


class UserError(LatentmillError):
    """The job, its data or its surroundings are not as they must be; nothing was written. Exit code 2.

    Attributes:
        message: what is wrong, and what to do.
        where: the place that it is wrong at, as ``steps.0.caption`` or a URI; empty where the message says it.
    """

    code = "user_error"

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(message, where)
        self.message = message
        self.where = where

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class SpecError(UserError):
    """A key or value of a job is wrong."""

    code = "bad_spec"


class ColumnError(UserError):
    """A step wants a column that is not there, or writes one that is."""

    code = "bad_column"


class SourceError(UserError):
    """The source can't be read."""

    code = "bad_source"


class SinkError(UserError):
    """The sink can't be written, or holds another job's rows."""

    code = "bad_sink"


class ModelError(UserError):
    """A model can't be had, or is not what the step needs."""

    code = "bad_model"


class CertificateError(UserError):
    """A certificate or its private key can't be read, or can't sign pictures."""

    code = "bad_certificate"


class ResourceError(UserError):
    """The machine or cluster can never hold a step, or a step ends its process whatever it is given."""

    code = "bad_resources"


class ClusterError(UserError):
    """A Ray cluster can't be reached, refuses, or is not what a job needs."""

    code = "bad_cluster"


class RowError(LatentmillError):
    """One row can't be processed; it goes to the rejects and the job goes on."""

    code = "row_failed"


class ImageError(RowError):
    """A picture can't be used."""

    code = "image_undecodable"


class ImageMissingError(ImageError):
    """There is no picture: a null, or a path that leads nowhere."""

    code = "image_missing"


class ImageEmptyError(ImageError):
    """The picture has no bytes."""

    code = "image_empty"


class ImageTruncatedError(ImageError):
    """The picture ends before it should."""

    code = "image_truncated"


class ImageTooLargeError(ImageError):
    """The picture has more pixels than allowed."""

    code = "image_too_large"


class ImageTooSmallError(ImageError):
    """The picture has too few pixels for the model's latents."""

    code = "image_too_small"


class ImageUnsafeError(ImageError):
    """The picture is not safe for work, and the step ``safety`` was to reject such ones."""

    code = "image_unsafe"


class MaskError(RowError):
    """The mask does not fit its picture, or covers nothing."""

    code = "mask_invalid"


class ValueMissingError(RowError):
    """A column that the step reads is null in this row."""

    code = "value_missing"


class ValueInvalidError(RowError):
    """A column holds something that the step can't take in this row."""

    code = "value_invalid"


class WeightsError(RowError):
    """Weights that the row names can't be had, or don't fit the model."""

    code = "weights_invalid"


class NotFiniteError(RowError):
    """The model answered with NaN or infinity for this row."""

    code = "not_finite"


class OutOfMemoryError(RowError):
    """The row alone does not fit into memory."""

    code = "out_of_memory"


class OperatorFailedError(RowError):
    """The model raised on this row alone while others passed."""

    code = "operator_failed"


class ProcessKilledError(RowError):
    """The row alone ended the process that worked on it, more than once."""

    code = "process_killed"
