"""Who stands by while an operator works, so that a row that ends the process can be told from its mates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from operators.errors import RowError


class Watch:
    """Is told which rows are in hand before they are worked on. This one lets everything pass."""

    def refused(self, row_ids: Sequence[str]) -> list[RowError | None]:
        """For every row, why it is not to be tried again, or None."""
        return [None] * len(row_ids)

    def pieces(self, row_ids: Sequence[str], least: int = 1) -> Iterator[slice]:  # noqa: ARG002
        """Cut rows that would be worked on together into what may be.

        Args:
            row_ids: their ids, at least one.
            least: rows that can't be parted.

        Yields:
            Neighbouring rows, each time as the work on them begins; whoever asks for more has lived through it.
        """
        yield slice(0, len(row_ids))

    def filled(self, batch: list[int], size: int) -> list[int]:  # noqa: ARG002
        """The rows, by place, to go through the networks for a batch of at most ``size``; some may go more than once.

        A row's last bits depend on how many rows it went with.
        """
        return batch
