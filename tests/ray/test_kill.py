"""Killed at random moments and started again: the same set of rows as undisturbed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pyarrow.fs as pafs
import pytest
import yaml

from tests.faults.sinks import Reader, looking
from tests.ray.datasets import files, outcomes, rows

ROOT = Path(__file__).parents[2]
KILLS = ["driver", "worker"]
PARTS = 20


def started(job_file, cluster):
    return subprocess.Popen(
        [sys.executable, "-m", "jobs", "run", str(job_file), "--address", cluster],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def committed(sink):
    return len(files(sink)["_latentmill/outcomes"])


def workers():
    """Processes of this cluster's actors that run steps now."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "MapWorker" in " ".join(process.cmdline()):
                found.append(process)
    return found


def written(path, sink):
    job = {
        "source": f"builtin:shapes?rows={2 * PARTS}&seed=5",
        "steps": [
            {"caption": {"max_new_tokens": 12}},
            {"invert": {"steps": 2, "reconstruction": False}},
            {"edit": {"method": "pix2pix_zero", "from": {"column": "shape"}, "to": ["star", "ring"], "steps": 2}},
        ],
        "sink": {"uri": str(sink), "part_rows": 2},
        "resources": {"default": {"cpus": 0.5, "threads": 1}},
    }
    path.write_text(yaml.safe_dump(job))
    return path


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_kills_lose_and_double_nothing(cluster, tmp_path):
    rng = random.Random(11)
    calm, harried = tmp_path / "calm", tmp_path / "harried"
    assert started(written(tmp_path / "calm.yaml", calm), cluster).wait() == 0
    job_file = written(tmp_path / "harried.yaml", harried)
    reader = Reader(pafs.LocalFileSystem(), str(harried))
    with looking(reader):
        run = disturbed(job_file, cluster, harried, rng)
        output = run.communicate()[0].decode()
    assert run.returncode == 0, output
    assert reader.looks
    assert not reader.doubled
    assert not reader.missed

    same = ["row_id", "source_id", "content_hash", "row_seed", "caption", "true_caption", "edited_image_prompt"]
    pd.testing.assert_frame_equal(rows(harried)[same], rows(calm)[same])
    assert len(rows(harried)) == 4 * PARTS
    pd.testing.assert_frame_equal(outcomes(harried).drop(columns="attempt"), outcomes(calm).drop(columns="attempt"))
    assert files(harried)["data"] == files(harried)["_latentmill/outcomes"]
    assert not list((harried / ".unfinished").glob("*"))


def disturbed(job_file, cluster, harried, rng):
    """Start a run, and again after each of its drivers that was killed; the one that is left alone."""
    run = started(job_file, cluster)
    for victim in rng.sample(KILLS, len(KILLS)):
        before = committed(harried)
        enough = min(before + rng.randint(1, 5), PARTS - 1)
        while (committed(harried) < enough or not (there := workers())) and run.poll() is None:
            time.sleep(rng.uniform(0.0, 0.1))
        assert run.poll() is None, run.stdout.read().decode()
        if victim == "worker":
            with suppress(psutil.NoSuchProcess):
                rng.choice(there).kill()
            continue
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        run = started(job_file, cluster)
    return run
