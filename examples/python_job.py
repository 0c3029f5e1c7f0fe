"""The quickstart's job, written in Python: planned, run, and its rows read."""

import sys

import pyarrow.dataset

from jobs import Job
from operators import Caption, Column, Generate


def main(sink: str = "out/python-job") -> None:
    job = Job(
        source="builtin:shapes?rows=6",
        steps=[Caption(), Generate(prompt=Column(column="caption"))],
        sink=sink,
    )
    print("columns:", ", ".join(job.plan().output.names))
    summary = job.run()
    print(f"{summary.rows_in} rows in, {summary.rows_out} rows out")
    for row in pyarrow.dataset.dataset(f"{sink}/data").to_table(columns=["row_id", "caption"]).to_pylist():
        print(row["row_id"], row["caption"])


if __name__ == "__main__":
    main(*sys.argv[1:])
