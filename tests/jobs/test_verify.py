"""A sink that is broken in one way is found to be broken in that way."""

from __future__ import annotations

import json
import os
import random
import shutil
from dataclasses import replace
from pathlib import Path

import lance
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from jobs.sink import ledger
from jobs.sink.ledger import DATA, OUTCOMES, REJECTS
from jobs.stores.store import Store
from jobs.verify import verify
from jobs.verifying.verdict import CHECKS, Code
from operators.images import encode_all
from operators.models.builtin import scenes
from operators.models.ref import ModelRef
from tests.jobs.sinks import begun, done, job, retried
from tests.jobs.test_cli import latentmill


@pytest.fixture
def sink(tmp_path):
    return Store.at(str(tmp_path / "sink"))


@pytest.fixture
def numbers(sink, tmp_path):
    """A job whose sink has two rows in which a branch, and a whole row, was rejected."""
    made = job(sink.uri, tmp_path / "broken")
    (tmp_path / "broken" / "table#1+fragile.b").write_text("not_finite")
    (tmp_path / "broken" / "table#4+fragile.a").write_text("value_invalid")
    (tmp_path / "broken" / "table#4+fragile.b").write_text("value_invalid")
    done(made)
    return made


@pytest.fixture
def parts(sink, numbers):
    """Names of the parts in the order of their rows."""
    return sorted(sink.names(f"{OUTCOMES}"), key=lambda name: read(sink, f"{OUTCOMES}/{name}")["source_id"][0].as_py())


def read(sink, name):
    return pq.read_table(pa.BufferReader(sink.get(name)))


def write(sink, name, table):
    out = pa.BufferOutputStream()
    pq.write_table(table, out)
    sink.put(name, bytes(out.getvalue()))


def edit(sink, name, change):
    write(sink, name, change(read(sink, name)))


def found(sink, **options):
    """What is wrong: code, object and rows; every fault says what to do."""
    verdict = verify(sink, **options)
    assert all(fault.remedy and fault.what for fault in verdict.faults)
    assert verdict.sound == (not verdict.faults)
    return {(fault.code, fault.where, fault.rows) for fault in verdict.faults}


@pytest.fixture(params=["local", "memory", "s3"])
def anywhere(request, tmp_path):
    if request.param == "s3":
        return f"{request.getfixturevalue('s3').new_bucket()}/sink"
    return str(tmp_path / "sink") if request.param == "local" else f"memory://{tmp_path.name}/sink"


def test_in_every_store_a_whole_sink_is_sound_and_a_damaged_one_is_not(anywhere, tmp_path):
    done(job(anywhere, tmp_path / "broken"))
    sink = Store.at(anywhere)
    assert verify(sink).sound
    name = f"{DATA}/{sink.names(DATA)[0]}"
    sink.put(name, sink.get(name)[:-100])
    assert found(sink) == {(Code.UNREADABLE, name, ())}


def test_a_whole_sink_is_sound(sink, numbers, parts):
    verdict = verify(sink, numbers.plan(), weights=True)
    assert verdict.sound, verdict.lines()
    assert verdict.looked_at == {
        Code.UNREADABLE: 4 + 4 + 2,
        Code.DATA_MISSING: 4,
        Code.ORPHAN: 4 + 4 + 2,
        Code.COLUMNS_DIFFER: 4,
        Code.LINEAGE_INCOMPLETE: 21,
        Code.ROW_DOUBLED: 21,
        Code.OUTCOME_DOUBLED: 12,
        Code.OUTPUTS_DISAGREE: 21,
        Code.REJECTS_DISAGREE: 3,
        Code.FILTERED_DISAGREE: 0,
        Code.CONTENT_DIFFERS: 21,
        Code.RUN_UNKNOWN: 1,
        Code.WEIGHTS_DIFFER: 0,
        Code.PLAN_DIFFERS: 1,
        Code.ROWS_WITHOUT_OUTCOME: 12,
    }
    assert set(verdict.looked_at) == set(CHECKS) == set(Code)


@pytest.mark.parametrize("folder", [DATA, OUTCOMES, REJECTS])
def test_an_object_that_ends_too_soon(sink, parts, folder):
    name = f"{folder}/{parts[0]}"
    sink.put(name, sink.get(name)[:-100])
    assert found(sink) == {(Code.UNREADABLE, name, ())}


def test_one_wrong_bit_in_a_page(sink, parts):
    name = f"{DATA}/{parts[2]}"
    data = bytearray(sink.get(name))
    data[len(data) // 4] ^= 1
    sink.put(name, bytes(data))
    assert found(sink) == {(Code.UNREADABLE, name, ())}


def test_one_wrong_bit_in_bytes_that_are_stored_as_they_are(sink, tmp_path):
    """Pictures hardly get smaller, so nothing but a checksum tells of it."""
    table = pa.table({"n": range(3), "image": [random.Random(n).randbytes(5000) for n in range(3)]})
    done(job(sink.uri, tmp_path / "broken", (), source=table))
    (part,) = sink.names(DATA)
    data = bytearray(sink.get(f"{DATA}/{part}"))
    data[7000] ^= 1
    sink.put(f"{DATA}/{part}", bytes(data))
    assert found(sink) == {(Code.UNREADABLE, f"{DATA}/{part}", ())}


@pytest.mark.parametrize("kind", ["webdataset", "imagefolder"])
def test_other_formats_than_parquet(sink, tmp_path, kind):
    pictures = encode_all(scenes.draw([scenes.scene(number, 4) for number in range(6)]))
    made = job(sink.uri, tmp_path / "broken", source=pa.table({"n": range(6), "image": pictures}), format=kind)
    done(made)
    assert verify(sink, made.plan()).sound
    first, second = sink.names(DATA)
    name = next(Path(sink.uri, DATA, first).glob("*.png")) if kind == "imagefolder" else Path(sink.uri, DATA, first)
    whole = name.read_bytes()
    name.write_bytes(whole[: len(whole) // 2 // 512 * 512]) if kind == "webdataset" else name.unlink()
    assert found(sink) == {(Code.UNREADABLE, f"{DATA}/{first}", ())}
    name.write_bytes(whole)
    (shutil.rmtree if kind == "imagefolder" else os.remove)(Path(sink.uri, DATA, second))
    assert {(code, where) for code, where, _ in found(sink)} == {(Code.DATA_MISSING, f"{DATA}/{ledger.stem(second)}")}


def test_a_lance_table_whose_rejected_rows_were_tried_again(sink, tmp_path):
    made = job(sink.uri, tmp_path / "broken", format="lance")
    (tmp_path / "broken" / "table#1+fragile.b").write_text("not_finite")
    done(made)
    assert verify(sink, made.plan()).sound
    (tmp_path / "broken" / "table#1+fragile.b").unlink()
    retried(made)
    verdict = verify(sink, made.plan())
    assert verdict.sound, verdict.lines()
    assert verdict.looked_at[Code.ROW_DOUBLED] == 24
    file = next(Path(sink.uri, "data.lance", "data").glob("part-000002-*"))
    part = ledger.stem(file.name)
    whole = file.read_bytes()
    file.write_bytes(whole[:-10])
    assert found(sink) == {(Code.UNREADABLE, f"data.lance/{part}", ())}
    file.unlink()
    assert found(sink) == {(Code.UNREADABLE, f"data.lance/{part}", ())}


@pytest.mark.parametrize("compacted", ["whole", "in part"])
def test_a_lance_table_that_its_owner_compacted(sink, tmp_path, compacted):
    made = job(sink.uri, tmp_path / "broken", format="lance")
    (tmp_path / "broken" / "table#1+fragile.b").write_text("not_finite")
    done(made)
    table = lance.dataset(f"{sink.uri}/data.lance")
    if compacted == "whole":
        table.optimize.compact_files()
    else:
        table.update({"n": "n"}, "source_id IN ('table#2', 'table#3')")
    (tmp_path / "broken" / "table#1+fragile.b").unlink()
    retried(made)
    assert verify(sink, made.plan()).sound
    assert verify(sink).looked_at[Code.ROW_DOUBLED] == 24
    table = lance.dataset(f"{sink.uri}/data.lance")
    as_it_was = table.version
    table.delete("row_id = 'table#2/fragile.a'")
    assert found(sink) == {(Code.OUTPUTS_DISAGREE, "data.lance", ("table#2",))}
    table = lance.dataset(f"{sink.uri}/data.lance", version=as_it_was)
    table.restore()
    table.update({"content_hash": "'another'"}, "source_id = 'table#3'")
    assert found(sink) == {(Code.CONTENT_DIFFERS, "data.lance", ("table#3",))}
    lance.dataset(f"{sink.uri}/data.lance", version=as_it_was).restore()
    stranger = table.to_table(filter="row_id = 'table#5/fragile.a'")
    lance.write_dataset(stranger, f"{sink.uri}/data.lance", mode="append")
    assert {(code, rows) for code, _, rows in found(sink)} == {
        (Code.OUTPUTS_DISAGREE, ("table#5",)),
        (Code.ROW_DOUBLED, ("table#5/fragile.a",)),
    }
    lance.dataset(f"{sink.uri}/data.lance", version=as_it_was).restore()
    for name, value in (("source_id", "table#77"), ("row_id", "table#77/fragile.a")):
        stranger = stranger.set_column(stranger.schema.get_field_index(name), name, pa.array([value]))
    lance.write_dataset(stranger, f"{sink.uri}/data.lance", mode="append")
    faults = verify(sink).of(Code.OUTPUTS_DISAGREE)
    assert [fault.what for fault in faults] == ["1 source rows have rows, but no outcome"]


def test_a_part_whose_data_is_gone(sink, parts):
    sink.remove([f"{DATA}/{parts[2]}"])
    assert found(sink) == {(Code.DATA_MISSING, f"{DATA}/{parts[2]}", ("table#6", "table#7", "table#8"))}


def test_rejects_that_are_gone(sink, parts):
    sink.remove([f"{REJECTS}/{parts[0]}"])
    assert found(sink) == {(Code.REJECTS_DISAGREE, f"{REJECTS}/{parts[0]}", ("table#1",))}


def test_outcomes_that_are_gone(sink, numbers, parts):
    sink.remove([f"{OUTCOMES}/{parts[0]}"])
    orphans = {(Code.ORPHAN, f"{folder}/{parts[0]}", ()) for folder in (DATA, REJECTS)}
    assert found(sink) == orphans
    assert found(sink, plan=numbers.plan()) == {*orphans, (Code.ROWS_WITHOUT_OUTCOME, sink.uri, ())}


def test_a_copy_of_a_part_under_another_name(sink, parts):
    first, digest = parts[2].rsplit("-", 1)
    copy = f"{first}-{'0' * len(digest.removesuffix('.parquet'))}.parquet"
    for folder in (DATA, OUTCOMES):
        sink.put(f"{folder}/{copy}", sink.get(f"{folder}/{parts[2]}"))
    ids = tuple(f"table#{n}/fragile.{to}" for n in (6, 7, 8) for to in "ab")
    assert found(sink) == {
        (Code.ROW_DOUBLED, f"{DATA}/{copy} and {DATA}/{parts[2]}", ids[:5]),
        (Code.OUTCOME_DOUBLED, f"{OUTCOMES}/{copy} and {OUTCOMES}/{parts[2]}", ("table#6", "table#7", "table#8")),
    }


def test_a_file_that_is_no_part(sink, parts):
    sink.put(f"{DATA}/copy.parquet", sink.get(f"{DATA}/{parts[2]}"))
    (fault,) = verify(sink).faults
    assert (fault.code, fault.where) == (Code.ORPHAN, f"{DATA}/copy.parquet")
    assert fault.remedy.startswith("move it elsewhere")


def test_a_row_more_and_a_row_less_in_the_data(sink, parts):
    edit(sink, f"{DATA}/{parts[2]}", lambda rows: pa.concat_tables([rows[1:], rows[-1:]]))
    assert found(sink) == {
        (Code.OUTPUTS_DISAGREE, f"{DATA}/{parts[2]}", ("table#6", "table#8")),
        (Code.ROW_DOUBLED, f"{DATA}/{parts[2]}", ("table#8/fragile.b",)),
    }


def test_outcomes_that_were_edited(sink, parts):
    def changed(lines):
        at = lines.schema.get_field_index("outputs")
        return lines.set_column(at, "outputs", pc.add(lines["outputs"], pa.scalar(1, pa.int32())))

    edit(sink, f"{OUTCOMES}/{parts[2]}", changed)
    assert found(sink) == {(Code.OUTPUTS_DISAGREE, f"{DATA}/{parts[2]}", ("table#6", "table#7", "table#8"))}


def test_outcomes_that_tell_of_no_row(sink, parts):
    edit(sink, f"{OUTCOMES}/{parts[3]}", lambda table: table[:0])
    ((code, where, rows),) = found(sink)
    assert (code, where) == (Code.OUTPUTS_DISAGREE, f"{DATA}/{parts[3]}")
    assert rows == ("table#10", "table#11", "table#9")


def test_rows_of_a_source_row_without_outcome(sink, parts):
    edit(sink, f"{OUTCOMES}/{parts[2]}", lambda lines: lines[1:])
    assert found(sink) == {(Code.OUTPUTS_DISAGREE, f"{DATA}/{parts[2]}", ("table#6",))}


def test_a_reject_more_and_rejects_without_outcome(sink, parts):
    edit(sink, f"{REJECTS}/{parts[0]}", lambda rows: pa.concat_tables([rows, rows]))
    assert found(sink) == {(Code.REJECTS_DISAGREE, f"{REJECTS}/{parts[0]}", ("table#1",))}
    edit(sink, f"{REJECTS}/{parts[0]}", lambda rows: rows[:1])
    edit(sink, f"{OUTCOMES}/{parts[0]}", lambda lines: lines.filter(pc.not_equal(lines["source_id"], "table#1")))
    edit(sink, f"{DATA}/{parts[0]}", lambda rows: rows.filter(pc.not_equal(rows["source_id"], "table#1")))
    assert found(sink) == {(Code.REJECTS_DISAGREE, f"{REJECTS}/{parts[0]}", ())}


@pytest.mark.parametrize("column", ["content_hash", "run_id", "row_seed"])
def test_a_row_without_a_value_of_its_lineage(sink, parts, column):
    def emptied(rows):
        at, kind = rows.schema.get_field_index(column), rows.schema.field(column).type
        return rows.set_column(at, column, pa.chunked_array([pa.nulls(1, kind), rows[column].combine_chunks()[1:]]))

    edit(sink, f"{DATA}/{parts[2]}", emptied)
    told = found(sink)
    assert (Code.LINEAGE_INCOMPLETE, f"{DATA}/{parts[2]}", ("table#6/fragile.a",)) in told


def test_data_without_a_column_of_its_lineage(sink, parts):
    edit(sink, f"{DATA}/{parts[2]}", lambda rows: rows.drop_columns("source_uri"))
    codes = {code for code, where, _ in found(sink) if where == f"{DATA}/{parts[2]}"}
    assert codes == {Code.LINEAGE_INCOMPLETE, Code.COLUMNS_DIFFER}


def test_another_content_hash_than_in_the_outcomes(sink, parts):
    def changed(rows):
        at = rows.schema.get_field_index("content_hash")
        return rows.set_column(at, "content_hash", pa.array(["0" * 32, *rows["content_hash"].to_pylist()[1:]]))

    edit(sink, f"{DATA}/{parts[2]}", changed)
    assert found(sink) == {(Code.CONTENT_DIFFERS, f"{DATA}/{parts[2]}", ("table#6",))}


@pytest.mark.parametrize("odd", range(3))
def test_a_part_with_other_columns_than_most(sink, parts, odd):
    name = f"{DATA}/{sorted(parts)[odd]}"
    edit(sink, name, lambda rows: rows.append_column("mine", pa.nulls(rows.num_rows, pa.int8())))
    assert {(code, where) for code, where, _ in found(sink)} == {(Code.COLUMNS_DIFFER, name)}


def test_rows_of_a_run_that_nothing_is_known_of(sink, numbers):
    (run,) = sink.names(ledger.RUNS)
    sink.remove([f"{ledger.RUNS}/{run}/run.json"])
    assert found(sink) == {(Code.RUN_UNKNOWN, f"{ledger.RUNS}/{run}/run.json", ())}


def test_rows_of_another_plan_than_the_job(sink, numbers):
    other = numbers.model_copy(update={"seed": 1})
    assert found(sink, plan=other.plan()) == {(Code.PLAN_DIFFERS, sink.uri, ())}


def test_what_a_run_has_not_committed_yet_is_no_orphan_while_it_lives(sink, numbers, tmp_path):
    more = job(sink.uri, tmp_path / "broken", rows=18)
    run = begun(more)
    late = run.epoch.part_name("ab", ledger.file_key(""))
    sink.put(f"{DATA}/{late}", b"half")
    verdict = verify(sink)
    assert verdict.sound
    assert "goes on" in verdict.notes[0]
    run.end(KeyboardInterrupt())
    assert found(sink) == {(Code.ORPHAN, f"{DATA}/{late}", ())}


def told_weights(sink, weights, steps=()):
    """Put into the record what weights the run had."""
    (run,) = sink.names(ledger.RUNS)
    name = f"{ledger.RUNS}/{run}/run.json"
    record = json.loads(sink.get(name))
    record["summary"]["weights"] = weights
    record["job"] |= {"steps": list(steps)}
    sink.put(name, json.dumps(record).encode())


def test_weights_that_were_others_in_another_run(sink, numbers, tmp_path):
    told_weights(sink, {"builtin:blip": "aa"})
    run = begun(job(sink.uri, tmp_path / "broken", rows=18))
    run.commit([4, 5])
    run.summary.weights["builtin:blip"] = "bb"
    run.record.tell(run.summary)
    run.end()
    assert found(sink) == {(Code.WEIGHTS_DIFFER, "builtin:blip", ())}


def test_weights_that_are_others_now(sink, numbers, tmp_path):
    step = {"caption": {"model": "builtin:blip"}}
    told_weights(sink, {"builtin:blip": "aa"}, [step])
    assert found(sink) == set()
    assert found(sink, weights=True) == {(Code.WEIGHTS_DIFFER, "builtin:blip", ())}
    missing = ModelRef(str(tmp_path / "no-model"))
    told_weights(sink, {missing: "aa"}, [{"caption": {"model": missing}}])
    verdict = verify(sink, weights=True)
    assert verdict.sound
    assert "no-model" in verdict.notes[0]


def test_the_command_ends_with_1_and_says_what_to_do(capsys, tmp_path):
    numbers = job(str(tmp_path / "sink"), tmp_path / "broken")
    done(numbers)
    code, out, _ = latentmill(capsys, "verify", tmp_path / "sink")
    assert (code, out.splitlines()[0].split()) == (0, ["check", "looked", "at", "wrong"])
    sink = Store.at(numbers.sink.uri)
    for name in sink.names(DATA):
        sink.remove([f"{DATA}/{name}"])
    code, out, _ = latentmill(capsys, "verify", tmp_path / "sink")
    assert code == 1
    told = [line for line in out.splitlines() if line.startswith("data_missing: data/part-000001")]
    assert len(told) == 4
    assert "6 rows are gone with it (table#0, table#1, table#2); remove _latentmill/outcomes/part-" in "".join(told)
    code, out, _ = latentmill(capsys, "verify", tmp_path / "sink", "--json")
    assert code == 1
    assert json.loads(out)["checks"]["data_missing"] == {"looked_at": 4, "faults": 4}


def test_what_is_advised_mends_the_sink(sink, numbers, parts):
    edit(sink, f"{DATA}/{parts[0]}", lambda rows: rows[1:])
    (fault,) = verify(sink).faults
    assert fault.remedy.startswith(f"remove {OUTCOMES}/{parts[0]} and run the job again")
    sink.remove([f"{OUTCOMES}/{parts[0]}"])
    run = begun(numbers)
    run.commit([0])
    run.end()
    assert verify(sink, numbers.plan()).sound
    assert replace(run.start, run_id="") != run.start
