"""Rows of tables, as spreadsheets and careless programs write them."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.readers import InputError
from data_prep.readers.rows import split_rows
from tests.helpers.reader_results import found


def table(folder, text: str | bytes, name: str = "captions.csv"):
    """The captions by photo, and the problems, of a table."""
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    items, problems = found("csv", folder)
    return {item.id: [caption.text for caption in item.captions] for item in items}, problems


def test_unescaped_quotes_do_not_join_rows(tmp_path):
    rows = ['0.jpg,A 12" pizza.', *(f"{k}.jpg,A dog." for k in range(1, 5)), '5.jpg,A 9" cake.']
    captions, problems = table(tmp_path, "\n".join(["image,caption", *rows]))
    assert captions == {"0.jpg": ['A 12" pizza.'], **{f"{k}.jpg": ["A dog."] for k in range(1, 5)},
                        "5.jpg": ['A 9" cake.']}  # fmt: skip
    assert not problems


@pytest.mark.parametrize(
    ("row", "caption"),
    [
        ('0.jpg,A 12" pizza.,train', 'A 12" pizza.'),
        ('0.jpg,"A 12" pizza, cut",train', 'A 12" pizza, cut'),
        ('0.jpg,"A pizza of 12"",train', 'A pizza of 12"'),
        ('0.jpg,"A sign says "stop", it is red",train', 'A sign says "stop", it is red'),
        ('0.jpg,"Stop" says a sign,train', '"Stop" says a sign'),
        ('0.jpg,12" by 14" pizza,train', '12" by 14" pizza'),
        ('0.jpg,a dog",train', 'a dog"'),
        ('0.jpg,"a dog,train', None),
    ],
)  # fmt: skip
def test_unescaped_quotes_in_a_column_that_is_not_the_last(tmp_path, row, caption):
    text = f'image,caption,split\n{row}\n1.jpg,"A cat, asleep",train\n2.jpg,A 9" cake,train\n'
    captions, problems = table(tmp_path, text)
    assert captions.pop("1.jpg") == ["A cat, asleep"]
    assert captions.pop("2.jpg") == ['A 9" cake']
    if caption is None:  # how the row was meant cannot be known
        assert len(captions) + len(problems) == 1
    else:
        assert (captions, problems) == ({"0.jpg": [caption]}, [])


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\v", "\f", "\x1c", "\x1d", "\x1e"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_other_line_separators_of_unicode_are_text(tmp_path, character, quote):
    text = f"image,caption,split\n0.jpg,{quote}A dog{character}runs.{quote},train\n1.jpg,A cat.,train\n"
    captions, problems = table(tmp_path, text)
    assert captions == {"0.jpg": ["A dog runs."], "1.jpg": ["A cat."]}
    assert not problems


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_end_as_on_any_system(tmp_path, newline):
    lines = ["image,caption", "0.jpg,A dog.", '1.jpg,"A cat,', 'asleep."', "2.jpg,A cow."]
    captions, problems = table(tmp_path, newline.join(lines))
    assert captions == {"0.jpg": ["A dog."], "1.jpg": ["A cat, asleep."], "2.jpg": ["A cow."]}
    assert not problems


def test_line_ends_of_several_systems_in_one_file(tmp_path):
    text = 'image,caption\r\n0.jpg,A dog.\n1.jpg,A cat.\r2.jpg,"A cow,\ra pig."\r\r\n3.jpg,A hen.\r'
    captions, problems = table(tmp_path, text)
    assert captions == {"0.jpg": ["A dog."], "1.jpg": ["A cat."], "2.jpg": ["A cow, a pig."], "3.jpg": ["A hen."]}
    assert not problems


def test_line_ends_in_fields_of_a_file_of_carriage_returns(tmp_path):
    captions, problems = table(tmp_path, 'image,caption,split\r0.jpg,"A dog,\nasleep.",train\r1.jpg,A cat.,train\r')
    assert (captions, problems) == ({"0.jpg": ["A dog, asleep."], "1.jpg": ["A cat."]}, [])


def test_a_field_on_several_lines_may_come_before_the_name(tmp_path):
    rows = ['"A dog,\nasleep.",0.jpg', '"A cat\n\non a ""mat""",1.jpg', "A cow,2.jpg", '"A hen\nruns",0.jpg']
    captions, problems = table(tmp_path, "\n".join(["caption,image", *rows]))
    assert captions == {"0.jpg": ["A dog, asleep.", "A hen runs"], "1.jpg": ['A cat on a "mat"'], "2.jpg": ["A cow"]}
    assert not problems


def test_a_quote_before_the_name_does_not_join_rows_that_have_names(tmp_path):
    captions, problems = table(tmp_path, 'caption,image\n"A pizza,0.jpg\nA dog,1.jpg\na cake of 9",2.jpg\n')
    assert captions == {"0.jpg": ['"A pizza'], "1.jpg": ["A dog"], "2.jpg": ['a cake of 9"']}
    assert not problems


@pytest.mark.parametrize(
    ("field", "caption"),
    [
        (r'"A \"dog\" runs"', 'A "dog" runs'),
        (r'"A dog, \"asleep\", on grass"', 'A dog, "asleep", on grass'),
        (r'"\"Stop\" says a sign"', '"Stop" says a sign'),
        (r'"He says \"stop\""', 'He says "stop"'),
        (r'"A path C:\"', "A path C:\\"),
    ],
)  # fmt: skip
def test_quotes_may_be_escaped_with_backslashes(tmp_path, field, caption):
    captions, problems = table(tmp_path, f"image,caption,split\n0.jpg,{field},train\n1.jpg,A cat,train\n")
    assert (captions, problems) == ({"0.jpg": [caption], "1.jpg": ["A cat"]}, [])


@pytest.mark.parametrize("column", ["image", "caption", "split"])
def test_a_column_that_is_named_twice_is_named(tmp_path, column):
    with pytest.raises(InputError, match=rf"captions\.csv:1: .*'{column}' is named twice"):
        table(tmp_path, f"image,caption,split,{column}\n0.jpg,A dog,train,x\n")


@pytest.mark.parametrize(
    "row", ['0.jpg, "A dog, asleep.",train', '0.jpg,"A dog, asleep." ,train', '"0.jpg" , "A dog, asleep." , train']
)
def test_spaces_around_a_quoted_field_are_dropped(tmp_path, row):
    captions, problems = table(tmp_path, f"image,caption,split\n{row}\n")
    assert (captions, problems) == ({"0.jpg": ["A dog, asleep."]}, [])


def test_rows_and_columns_of_separators_alone_are_no_rows(tmp_path):
    text = 'image,caption,split,,\n0.jpg,A dog.,train,,\n,,,,\n1.jpg,A cat.,train,,\n,,,,\n"","",,,\n\n'
    captions, problems = table(tmp_path, text)
    assert (captions, problems) == ({"0.jpg": ["A dog."], "1.jpg": ["A cat."]}, [])


def test_empty_columns_after_a_caption_are_not_part_of_it(tmp_path):
    captions, problems = table(tmp_path, "image,caption,,\n0.jpg,One , two,,\n1.jpg,A cat.,,\n2.jpg,A cow.\n")
    assert captions == {"0.jpg": ["One , two"], "1.jpg": ["A cat."], "2.jpg": ["A cow."]}
    assert not problems


def test_a_first_line_that_names_the_separator_is_skipped(tmp_path):
    captions, problems = table(tmp_path, "sep=;\nimage;caption\n0.jpg;A dog, asleep.\n")
    assert (captions, problems) == ({"0.jpg": ["A dog, asleep."]}, [])


def test_a_field_that_is_never_closed_costs_no_other_row(tmp_path):
    rows = [f'{k}.jpg,"open {k}' for k in range(300)]
    captions, problems = table(tmp_path, "\n".join(["image,caption", *rows, 'last.jpg,"closed"']))
    assert not problems
    assert captions == {**{f"{k}.jpg": [f'"open {k}'] for k in range(300)}, "last.jpg": ["closed"]}


def test_a_quote_that_a_later_row_closes_does_not_join_them(tmp_path):
    text = 'image,caption,split\n0.jpg,"A pizza,train\n1.jpg,A dog,train\n2.jpg,a cake of 9",train\n3.jpg,A cat,train\n'
    captions, problems = table(tmp_path, text)
    assert captions.keys() >= {"1.jpg", "3.jpg"}
    assert len(captions) + len(problems) == 4
    assert all(len(texts) == 1 and "jpg" not in texts[0] for texts in captions.values())


CAPTIONS = {
    "de": "Ein Mädchen läuft über die Straße.",
    "fr": "Une fille à l’école, où elle a reçu un « prix ».",
    "en": "A “quoted” word – and a café.",
}


@pytest.mark.parametrize("text", CAPTIONS.values(), ids=CAPTIONS)
def test_a_table_in_windows_1252_is_read_and_reported_once(tmp_path, text):
    rows = "".join(f'{k}.jpg,"{text}"\r\n' for k in range(5))
    captions, problems = table(tmp_path, f"image,caption\r\n{rows}".encode("cp1252"))
    assert captions == {f"{k}.jpg": [text] for k in range(5)}
    assert [(problem.kind, problem.costs, problem.where) for problem in problems] == [
        ("encoding", "nothing", "captions.csv:2")
    ]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("Собака бежит по траве.", "cp1251"), ("Ένας σκύλος τρέχει.", "cp1253"), ("小さな犬が走る。", "shift_jis"),
     ("Une école fermée.", "mac_roman"), ("Ein Mädchen läuft.", "cp850")],
)  # fmt: skip
def test_other_encodings_are_bad_input(tmp_path, text, encoding):
    captions, problems = table(tmp_path, f"image,caption\n0.jpg,{text}\n1.jpg,A cat.\n".encode(encoding))
    assert captions == {"1.jpg": ["A cat."]}
    assert [(problem.kind, problem.costs, problem.where) for problem in problems] == [
        ("encoding", "caption", "captions.csv:2")
    ]
    assert "save the file as UTF-8" in problems[0].message


def test_a_file_with_utf_8_and_damaged_bytes_is_not_windows_1252(tmp_path):
    captions, (problem,) = table(tmp_path, "image,caption\n0.jpg,Café.\n1.jpg,Caf".encode() + b"\xe9.\n")
    assert captions == {"0.jpg": ["Café."]}
    assert (problem.kind, problem.costs, problem.where) == ("encoding", "caption", "captions.csv:3")


def test_a_table_in_utf_16_names_the_remedy(tmp_path):
    with pytest.raises(InputError, match="save it as UTF-8"):
        table(tmp_path, "image,caption\n0.jpg,A dog.\n".encode("utf-16"))


FIELDS = st.text(st.characters(exclude_characters="\r\0", exclude_categories=["Cs"]), max_size=12)


@given(
    st.lists(st.lists(FIELDS, min_size=3, max_size=3), max_size=8), st.sampled_from(",;\t|"),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)  # fmt: skip
def test_what_pythons_csv_writes_is_read_back(rows, separator, quoting):
    file = io.StringIO()
    csv.writer(file, delimiter=separator, quoting=quoting, lineterminator="\n").writerows(rows)
    lines = [("", line) for line in file.getvalue().split("\n") if line.strip()]
    read = [row.fields for _, row in split_rows(lines, separator, lambda line, row: False)]
    plain = [[" ".join(field.split()) for field in row] for row in read]
    written = [[" ".join(field.split()) for field in row] for row in rows if any(map(str.strip, row)) or quoting]
    assert [row for row in plain if any(row)] == [row for row in written if any(row)]


@given(st.lists(st.text(st.sampled_from('a1" ,\n\t'), max_size=15), max_size=6))
def test_no_text_breaks_the_parser_or_loses_a_line(lines):
    lines = [line for text in lines for line in text.split("\n") if line.strip()]
    numbered = [(str(number), line) for number, line in enumerate(lines)]
    rows = list(split_rows(numbered, ",", lambda line, row: len(line.fields) == len(row.fields)))
    assert "\n".join(row.text for _, row in rows) == "\n".join(lines)
    for _, row in rows:
        assert len(row.fields) == len(row.starts)


def test_a_long_line_of_quotes_is_read_in_linear_time():
    for pattern in ('"x"y,', '"a"",', '"a b"c,', '""', ',"', '"a,'):
        line = pattern * 40_000
        assert sum(1 for _ in split_rows([("1", line)] * 3, ",", lambda line, row: False)) >= 1
