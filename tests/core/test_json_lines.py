"""One JSON object a line: read whole, or while another process appends."""

import pytest

from sacpipe.core.errors import StoreError
from sacpipe.core.json_lines import GrowingJsonLines, json_lines


def rows(path, **options):
    return list(json_lines(path, StoreError, "Restore it.", **options))


def test_each_row_has_its_place_and_empty_lines_are_none(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": "line\u2028separator"}\n\n{"b": 2}', newline="")
    assert rows(path) == [(f"{path}, line 1", {"a": "line\u2028separator"}), (f"{path}, line 3", {"b": 2})]


@pytest.mark.parametrize(
    ("line", "found"), [('{"a": ', "Expecting value"), ("[1]", "list"), ("\xff", "codec")]
)
def test_another_line_is_an_error_that_names_file_line_and_remedy(tmp_path, line, found):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line.encode("latin-1") + b"\n")
    with pytest.raises(
        StoreError, match=rf"a\.jsonl, line 2: expected a JSON object, found .*{found}.*Restore it"
    ):
        rows(path)
    with pytest.raises(StoreError, match=r"missing\.jsonl cannot be read"):
        rows(tmp_path / "missing.jsonl")


def test_a_line_that_a_crash_cut_short_is_skipped_where_the_caller_says_so(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"a": \n{"a": 2}\n{"a": 3')
    assert [row["a"] for _, row in rows(path, skips_torn=True)] == [1, 2]


def test_a_growing_file_gives_whole_lines_and_starts_again_after_it_was_truncated(tmp_path):
    path = tmp_path / "a.jsonl"
    growing = GrowingJsonLines(path)
    assert growing.read() == []
    path.write_text('{"a": 1}\n{"a": 2')
    assert growing.read() == [{"a": 1}]
    with path.open("a") as file:
        file.write("0}\n")
    assert growing.read() == [{"a": 1}, {"a": 20}]
    path.write_text('{"a": 3}\n')
    assert growing.read() == [{"a": 3}]
