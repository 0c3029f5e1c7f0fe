"""A job of such steps as a process of its own: what it is to do comes as one JSON object, a refusal is one line."""

from __future__ import annotations

import json
import os
import sys

# Ray listens on loopback only; it reads this when it is imported.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"

from jobs import Job
from operators.errors import UserError
from tests.ray.witness import Witness

asked = json.loads(sys.argv[1])
job = Job(
    source={"uri": f"builtin:shapes?rows={asked['rows']}", "columns": ["image"]},
    steps=[Witness(**step) for step in asked["steps"]],
    sink={"uri": asked["sink"], "part_rows": 1},
    resources=asked["resources"],
)
try:
    job.run(asked["address"])
except UserError as error:
    sys.exit(str(error))
