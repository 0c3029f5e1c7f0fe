from __future__ import annotations

import pytest

from operators.errors import SourceError
from tests.jobs.reading import described
from tests.servers import GCSServer


def test_mistakes_are_one_clear_line(gcs: GCSServer) -> None:
    uri = gcs.new_bucket()
    for wrong in ("gs://no-such-bucket/x", f"{uri}/nowhere/"):
        with pytest.raises(SourceError, match=f"{wrong.rstrip('/')}/?: there is nothing here; check the path"):
            described(wrong)
