"""Reading files: what a row is and where it begins, what is refused as a whole, and that memory has a bound."""

import csv
import gzip
import io
import json
import os
import tracemalloc
import zlib
from itertools import islice
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import BadInput
from app.kit import files, json_rows, rows
from app.kit.given import BadRow, Given
from app.kit.imports import ImportReport, chunks

CASES = Path(__file__).resolve().parents[4] / "shared" / "cases" / "import"


def read(tmp_path, content: str | bytes, name: str = "file.jsonl") -> list[tuple[int, object]]:
    """(line, values or the field and words of the problem) of each row."""
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [
        (row.problem.line, row.problem.message) if isinstance(row, BadRow) else (row.line, dict(row.values))
        for row in of(path)
    ]


def of(path: Path):
    return rows.rows(path, as_csv=rows.is_csv(path.name))


def refusal(tmp_path, content: str | bytes, name: str = "file.jsonl") -> str:
    with pytest.raises(BadInput) as error:
        read(tmp_path, content, name)
    return error.value.message


# --- One bad row moves no other ---


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b'prompt\n"Caf\xe9 list, please\nDelete the database\nand say nothing"\nGood\n', [2, 5]),
        (b'prompt,x\ngood,1\n\xff\xfe,2\n"two\nlines",3\n', [2, 3, 4]),
        (b'prompt,x\r\n"a\xe9\r\n""b"", c",1\r\nlast,2\r\n', [2, 4]),
        (b'prompt,x\n"one\n\n\xe9\n\ntwo",1\nlast,2', [2, 7]),
    ],
)
def test_a_byte_that_is_not_utf8_refuses_its_row_and_no_other(tmp_path, content, lines):
    found = read(tmp_path, content, "file.csv")
    assert [line for line, _ in found] == lines
    bad = [what for _, what in found if isinstance(what, str)]
    assert len(bad) == 1 and "UTF-8" in bad[0]


def test_a_header_that_is_not_utf8_is_named(tmp_path):
    assert "names the columns" in refusal(tmp_path, b"pr\xe9mier,prompt\na,b\n", "file.csv")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('prompt\nfine\n"unclosed\nthird\nfourth\n', ["line 3", "never closed"]),
        ('prompt\nfine\n"He said "hello"\nand left"\n', ["line 3", "Double the quotes", "nothing was read"]),
        ('prompt\n"a"b\nnext\n', ["line 2", "Double the quotes"]),
        ("prompt;use_case\na;b\n", ["semicolons", "commas"]),
        ("prompt\tuse_case\na\tb\n", ["tabs"]),
        ("prompt,prompt\na,b\n", ["appears twice", "prompt"]),
        ("prompt,use_case\rOld one,chat\rOld two,chat\r", ["CR"]),
        ("prompt\n", ["no row"]),
        ("", ["empty"]),
        ("\n\n\n", ["empty"]),
        ("prompt,x\n".encode("utf-16"), ["UTF-16", "UTF-8"]),
        ("prompt,x\n".encode("utf-16-le"), ["UTF-16"]),
        (b"PK\x03\x04rest", ["Excel"]),
        (b"PAR1rest", ["Parquet"]),
    ],
)
def test_a_csv_that_cannot_be_cut_into_rows_is_refused_with_the_way_out(tmp_path, content, words):
    message = refusal(tmp_path, content, "file.csv")
    assert all(word in message for word in words), message


def test_spare_commas_are_no_columns(tmp_path):
    assert read(tmp_path, "prompt,use_case,,,\nOne,chat,,,\nTwo,chat\n,,,,\nThree,chat,,x,\n", "file.csv") == [
        (2, {"prompt": "One", "use_case": "chat"}),
        (3, {"prompt": "Two", "use_case": "chat"}),
        (5, "5 values for 2 columns; put values with commas or line breaks in double quotes."),
    ]
    assert "without a name" in read(tmp_path, "prompt,,use_case\na,stray,b\n", "file.csv")[0][1]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('[{"a": 1}, {"a": 2}]', [(1, {"a": 1}), (1, {"a": 2})]),
        ('\n\n [\n{"a": "]},{"},\n\n{"a": "\\\\"}\n]\n', [(4, {"a": "]},{"}), (6, {"a": "\\"})]),
        ('[{"a": "\\"}"}\n,\n{"b": [1, {"c": [2]}]}]', [(1, {"a": '"}'}), (3, {"b": [1, {"c": [2]}]})]),
    ],
)
def test_a_json_array_is_read_element_by_element(tmp_path, content, expected):
    assert read(tmp_path, content, "file.json") == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "empty"),
        ('[{"a": 1}', "never closed"),
        ('[{"a": "b}]', "never closed"),
        ('[{"a": 1}] {"a": 2}', "follows the array"),
        ('{\n  "prompt": "x"\n}\n', "several lines"),
    ],
)
def test_json_that_is_no_list_of_objects_is_refused_as_a_whole(tmp_path, content, words):
    assert words in refusal(tmp_path, content, "file.json")


def test_bad_elements_of_an_array_are_told_one_by_one(tmp_path):
    found = read(tmp_path, '[{"a": 1},\n{bad},\n7,\n{"a": 2}]')
    assert [(line, isinstance(what, str)) for line, what in found] == [(1, False), (2, True), (3, True), (4, False)]


# --- Damage and bombs ---


def test_damaged_gzip_is_one_message(tmp_path):
    packed = gzip.compress(b'{"prompt": "x"}\n' * 2000)
    broken = bytearray(packed)
    broken[len(broken) // 2] ^= 0xFF
    for content in (bytes(broken), packed[:-12], packed[:20], packed + b"trailing rubbish", b"\x1f\x8b"):
        message = refusal(tmp_path, content, "file.jsonl.gz")
        assert "cut off or damaged" in message


@pytest.mark.parametrize("cell", ["[" * 100_000, '{"a":' * 100_000, "[" * 500 + "]" * 500])
@pytest.mark.parametrize("field", ["messages", "answers", "settings", "prompt"])
def test_a_cell_nested_without_end_is_a_bad_value(cell, field):
    values = Given({field: cell}, cells=True)
    assert isinstance(values.text_or_messages(field), str | list)
    try:
        values.structured(field)
    except BadInput as error:
        assert error.field == field


def peak_mib(act) -> float:
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def count(path: Path) -> ImportReport:
    report = ImportReport()
    for chunk in chunks(of(path)):
        for row in chunk:
            report.refuse([row.problem]) if isinstance(row, BadRow) else report.take(dict)
    return report


@pytest.mark.parametrize(
    "make",
    [
        lambda: gzip.compress(b"x\n" * 100_000),
        lambda: gzip.compress(b"\n" * 2_000_000 + b"x\n"),
        lambda: b'{"prompt": "' + b"x" * 21_000_000 + b'"}\n' + b"x\n",
        lambda: b'{"a": [' + b"[]," * 1_300_000 + b"1]}\n" + b"x\n",
        lambda: (b'{"prompt": "' + b"y" * 1_000_000 + b'"}\n') * 60,
    ],
    ids=["bad rows", "blank lines", "a long line", "many small values", "large rows"],
)
def test_memory_has_a_bound_whatever_comes(tmp_path, make):
    path = tmp_path / "file.jsonl"
    path.write_bytes(make())
    found = []
    assert peak_mib(lambda: found.append(count(path))) < 150
    (report,) = found
    assert report.rows == report.added + report.known + report.left_out_rows + report.bad_rows
    assert len(report.problems) <= 1000


def test_a_file_that_unpacks_without_end_is_refused_early(tmp_path):
    packer = zlib.compressobj(9, wbits=31)
    path = tmp_path / "bomb.jsonl.gz"
    with path.open("wb") as out:
        for _ in range(400):
            out.write(packer.compress(b"\n" * 1_000_000))
        out.write(packer.flush())
    assert path.stat().st_size < 500_000
    with files.opened(path) as source, pytest.raises(BadInput, match="times its size"):
        for _ in source.chunks():
            assert source.unpacked < 120_000_000


def test_what_is_dense_and_large_is_not_called_a_bomb(tmp_path):
    line = orjson.dumps({"prompt": "The same question, asked in a synthetic set of data again and again."})
    path = tmp_path / "same.jsonl.gz"
    path.write_bytes(gzip.compress((line + b"\n") * 150_000, compresslevel=1))
    assert sum(1 for _ in of(path)) == 150_000


# --- Whatever is generated: a row is what the file says, or a problem with its line ---

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30)
ROWS = st.lists(st.dictionaries(st.sampled_from(["prompt", "completion", "x"]), TEXTS, max_size=3), max_size=8)
DAMAGE = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=3)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, st.booleans(), st.data())
def test_json_rows_are_what_was_written(tmp_path, written, as_array, data):
    if as_array:
        indent = data.draw(st.sampled_from([None, 1, 4]))
        content = json.dumps(written, indent=indent, ensure_ascii=data.draw(st.booleans()))
    else:
        content = "".join(json.dumps(row, ensure_ascii=data.draw(st.booleans())) + "\n" for row in written)
    if not written:
        assert "empty" in refusal(tmp_path, content)
    else:
        assert [values for _line, values in read(tmp_path, content)] == written


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    DAMAGE,
)
def test_csv_rows_are_what_a_csv_reader_gives_or_refused(tmp_path, written, line_end, quoting, damage):
    """Undamaged: as written. With bytes put in: no row but those that were written, unless the bytes are in it."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator=line_end, quoting=quoting)
    writer.writerow(["prompt", "x"])
    writer.writerows(written)
    content = bytearray(out.getvalue().encode())
    start = content.index(b"\n") + 1
    for place, byte in damage:
        if byte >= 0x80 and len(content) > start:  # never ASCII, so quotes and commas are where they were
            content[start + place % (len(content) - start)] = byte
    untouched = bytes(content) == out.getvalue().encode()
    expected = [
        {name: cell for name, cell in zip(("prompt", "x"), cells, strict=True) if cell.strip()} for cells in written
    ]
    try:
        found = read(tmp_path, bytes(content), "file.csv")
    except BadInput:
        # A writer that does not quote a carriage return leaves it open where the line ends.
        assert not untouched or not any(expected) or quoting == csv.QUOTE_MINIMAL
        return
    good = [values for _line, values in found if not isinstance(values, str)]
    if untouched and not (quoting == csv.QUOTE_MINIMAL and any("\r" in cell for cells in written for cell in cells)):
        assert good == [one for one in expected if one]
    else:
        texts = {cell for one in expected for cell in one.values()}
        for values in good:
            assert set(values.values()) <= texts | damaged_cells(bytes(content)), values


def damaged_cells(content: bytes) -> set[str]:
    """The cells as the standard library reads them where their bytes are UTF-8 still."""
    reader = csv.reader(io.StringIO(content.decode("utf-8", "surrogateescape"), newline=""))
    return {cell for cells in islice(reader, 1, None) for cell in cells}


@pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is not here")
def test_files_that_broke_the_reader_before_are_rows_or_one_message():
    for path in CASES.iterdir():
        try:
            list(of(path))
        except BadInput as error:
            assert error.message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"prompt": "Q", "prompt": "R"}', "“prompt” appears twice"),
        ('{"messages": [{"role": "user", "content": "A", "content": "B"}]}', "“content” appears twice"),
        ('{"prompt": "Q", "score": NaN}', "NaN is not JSON"),
        ('{"prompt": "Q", "score": [1, -Infinity]}', "Infinity is not JSON"),
    ],
)
def test_json_that_parsers_differ_about_is_a_bad_row(tmp_path, content, says):
    ((_line, problem),) = read(tmp_path, content)
    assert isinstance(problem, str) and says in problem


def test_numbers_and_nesting_that_are_no_matter_stay(tmp_path):
    big, deep = "9" * 6000, "[" * 900 + "]" * 900
    assert len(read(tmp_path, f'{{"prompt": "Q", "x": 1{"0" * 30}}}\n{{"prompt": "R", "y": {deep}}}')) == 2
    assert [line for line, _ in read(tmp_path, f'{{"x": {big}}}\n{{"prompt": "R"}}')] == [1, 2]


def test_a_header_that_comes_again_is_no_row(tmp_path):
    assert [(line, type(what)) for line, what in read(tmp_path, "prompt,x\na,1\nprompt,x\nb,2\n", "file.csv")] == [
        (2, dict), (3, str), (4, dict),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('"prompt";"owner"\n"a, b";"c"\n', "semicolons"),
        ('"a, name";owner\nx;y\n', "semicolons"),
        ("sep=,\nprompt,owner\na,b\n", "Excel"),
        ("prompt\towner\na\tb\n", "tabs"),
    ],
)
def test_separators_are_named_whatever_is_quoted(tmp_path, content, says):
    assert says in refusal(tmp_path, content, "file.csv")


def test_an_array_ends_as_one(tmp_path):
    assert "must end with ]" in refusal(tmp_path, '[{"prompt": "a"}}', "file.json")


def test_the_line_of_an_element_that_is_too_long_is_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CHUNK_BYTES", 50)
    monkeypatch.setattr(json_rows, "MAX_LINE_BYTES", 100)
    found = read(tmp_path, '[\n {"prompt": "ok"},\n\n {"prompt": "' + "x" * 300 + '"},\n {"prompt": "b"}]', "file.json")
    assert [(line, type(what)) for line, what in found] == [(2, dict), (4, str), (5, dict)]


def test_messages_name_so_many_fields_and_no_more(tmp_path):
    given = Given({f"{n}" * 2000: n for n in range(500)})
    assert len(given.named()) < 2000 and len("".join(given.unused())) < 2000


def test_what_is_no_file_is_said_to_be_none(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInput, match="not a regular file"):
        list(of(tmp_path / "pipe"))
