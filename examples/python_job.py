"""The quickstart's job, written in Python: planned, run, and its rows read."""

import sys

import pyarrow.dataset

from jobs import Job
from operators import Caption, Column, Invert, Pix2PixZero


def main(sink: str = "out/python-job") -> None:
    job = Job(
        source={"uri": "builtin:shapes?rows=3", "columns": ["image", "shape"]},
        steps=[
            Caption(),
            Invert(steps=30),
            Pix2PixZero(from_=Column(column="shape"), to=("star", "ring"), steps=30),
        ],
        sink=sink,
    )
    print("columns:", ", ".join(job.plan().output.names))
    summary = job.run()
    print(f"{summary.rows_in} rows in, {summary.rows_out} rows out")
    for row in pyarrow.dataset.dataset(f"{sink}/data").to_table(columns=["row_id", "edited_image_prompt"]).to_pylist():
        print(row["row_id"], row["edited_image_prompt"])


if __name__ == "__main__":
    main(*sys.argv[1:])
