"""Questions about images: VLMEvalKit's TSV and lmms-lab's rows. Made in the documented forms; none seen real."""

import base64
import csv
import io
import json

import pytest
from PIL import Image

from vr1bench.errors import Vr1benchError
from vr1bench.readers import READERS, Files
from vr1bench.readers.files import LONGEST_TEXT as LONGEST
from vr1bench.readers.qa import accepted


def png(colour, size=(12, 8)):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


RED, BLUE = png((200, 0, 0)), png((0, 0, 200), (20, 10))
IN_RED, IN_BLUE = base64.b64encode(RED).decode(), base64.b64encode(BLUE).decode()
OPEN = {"questions": "open"}
CHOICE = {"questions": "choice"}


# --- VLMEvalKit's TSV


def tsv(folder, rows, name="SET.tsv"):
    """As pandas' `to_csv(sep="\\t", index=False)` writes it."""
    path = folder / name
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    return path


def read(path, options, images=None):
    return READERS["qa-tsv"](Files(path, images or path.parent, options))


def asked(**changes):
    return {"index": 1, "image": IN_RED, "question": "What colour?", "answer": "red", **changes}


def offered(**changes):
    options = {"A": "cow", "B": "dog", "C": "", "D": "two, or three", "answer": "B", "category": "Scene"}
    return {**asked(), **options, **changes}


def test_open_questions_with_pictures_inside_or_in_another_row(tmp_path):
    rows = [
        asked(index=7, image="9", question='Is it "red"?\tOr\nnot?', split="test_human"),
        asked(index=9, answer="['red', 'crimson']", split="test_augmented"),
        asked(index=11, image=IN_BLUE, answer="[Blue, Red]", split="test_human"),
    ]
    data = read(tsv(tmp_path, rows), OPEN)
    assert [sample.id for sample in data] == ["7", "9", "11"]
    assert data[0].problem == 'Is it "red"?\tOr\nnot?'
    assert [sample.answers for sample in data] == [("red",), ("red", "crimson"), ("[Blue, Red]",)]
    assert [sample.tags for sample in data] == [("human",), ("augmented",), ("human",)]
    assert all(sample.choices == () == sample.queries and len(sample.gold) == 0 for sample in data)
    assert data[0].images == data[1].images
    assert [(sample.width, sample.height) for sample in data] == [(12, 8), (12, 8), (20, 10)]
    assert data[1].images[0].read_bytes() == RED  # the very bytes: nothing is saved anew
    assert data[2].images[0].read_bytes() == BLUE
    assert data.warnings == {}


def test_questions_with_options(tmp_path):
    data = read(tsv(tmp_path, [offered(), offered(index=2, A="x", D="", answer="A", category="Text")]), CHOICE)
    assert [sample.choices for sample in data] == [("cow", "dog", "", "two, or three"), ("x", "dog")]
    assert [sample.answers for sample in data] == [("B",), ("A",)]
    assert [sample.tags for sample in data] == [("Scene",), ("Text",)]


def test_tags_that_are_all_the_same_tell_nothing(tmp_path):
    data = read(tsv(tmp_path, [asked(split="test"), asked(index=2, split="test")]), OPEN)
    assert [sample.tags for sample in data] == [(), ()]


def test_a_real_photo_keeps_its_bytes_and_is_laid_out_once(tmp_path, shared_data):
    photo = sorted((shared_data / "coco_val2017").glob("*.jpg"))[0].read_bytes()
    inside = base64.b64encode(photo).decode()
    path = tsv(tmp_path, [asked(image=inside), asked(index=2, image=f"['{inside}']")])
    (one, two) = read(path, OPEN)
    assert one.images == two.images
    assert one.images[0].read_bytes() == photo
    written = one.images[0].stat().st_mtime_ns
    assert read(path, OPEN)[0].images[0].stat().st_mtime_ns == written
    assert [p.name for p in (tmp_path / "SET.images").iterdir()] == [one.images[0].name]


def test_what_is_odd_is_counted(tmp_path):
    rows = [
        offered(hint="look left", A="None"), offered(index=2, image="", hint=""), offered(index=3, hint="", C="N/A"),
    ]  # fmt: skip
    data = read(tsv(tmp_path, rows), CHOICE)
    assert [sample.id for sample in data] == ["1", "3"]
    assert data[0].choices[0] == "None"
    assert data.warnings == {
        "hints, which are not asked": 1,
        "rows without a picture, left out": 1,
        "options and answers such as None, which VLMEvalKit reads as missing": 2,
    }


def test_a_picture_longer_than_csv_takes_by_itself(tmp_path):
    noise = io.BytesIO()
    Image.effect_noise((400, 400), 80).save(noise, "PNG")
    limit = csv.field_size_limit()
    assert len(noise.getvalue()) > limit * 3 / 4
    data = read(tsv(tmp_path, [asked(image=base64.b64encode(noise.getvalue()).decode())]), OPEN)
    assert (data[0].width, csv.field_size_limit()) == (400, limit)


def test_the_sha256_is_the_files(tmp_path):
    import hashlib

    path = tsv(tmp_path, [asked()])
    assert read(path, OPEN).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_windows_line_ends_blank_lines_and_a_mark_of_byte_order(tmp_path):
    path = tsv(tmp_path, [asked(), asked(index=2)])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n\r\n")
    assert [sample.id for sample in read(path, OPEN)] == ["1", "2"]
    path.write_bytes(path.read_bytes().rstrip())  # and no end of the last line
    assert [sample.answers for sample in read(path, OPEN)] == [("red",), ("red",)]


HOSTILE = [
    (asked(image=IN_RED[:100] + "\u00e4"), r"row 0 \(index '1'\): the picture is no base64"),
    (asked(image=f"{IN_RED[:40]}****{IN_RED[40:]}"), r"row 0 \(index '1'\): the picture is no base64"),
    (asked(image="data:image/png;base64," + IN_RED), r"row 0 \(index '1'\): the picture is no base64"),
    (asked(image=base64.b64encode(b"no picture " * 9).decode()), r"row 0 \(index '1'\): no picture"),
    (asked(image=f"['{IN_RED}', '{IN_BLUE}']"), "2 pictures in one cell; expected one"),
    (asked(image="[" * 5000 + "]" * 5000), "0 pictures in one cell"),
    (asked(image="2"), "asks about picture '2', which no row holds"),
    (asked(image="1"), "asks about picture '1', which no row holds"),
    (asked(index=""), "expected an index that no other row has"),
    (asked(question=" "), "expected a question of 1 to"),
    (asked(index="a\0"), r"questions by id\[0\]: expected an id .* without control characters"),
    (asked(index="x" * 4097), r"questions by id\[0\]: expected an id of 1 to 4096 bytes"),
    (asked(question="a\0"), r"questions\[0\]: expected a question .* without NUL"),
    (asked(answer=""), "expected an answer of 1 to"),
    (asked(question="x" * (LONGEST + 1)), "expected a question of 1 to 20000 characters, got 20001"),
]


@pytest.mark.parametrize(("row", "words"), HOSTILE)
def test_refused_rows(tmp_path, row, words):
    with pytest.raises(Vr1benchError, match=words):
        read(tsv(tmp_path, [row]), OPEN)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (offered(answer="C"), "expected the letter of an option as the answer, got 'C' and the options A, B, D"),
        (offered(answer="E"), "got 'E'"),
        (offered(answer="dog"), "got 'dog'"),
        (offered(A="", B="", D=""), "expected options in the columns A, B"),
        (offered(A="x" * (LONGEST + 1)), "expected an option of 1 to"),
        (asked(), 'say options = { questions = "open" }'),
    ],
)
def test_refused_rows_with_options(tmp_path, row, words):
    with pytest.raises(Vr1benchError, match=words):
        read(tsv(tmp_path, [row]), CHOICE)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"index\timage\tquestion\n", "got no 'answer'"),
        (b"index\timage\tquestion\tanswer\tquestion\n", "the column 'question' stands twice"),
        (b"index,image,question,answer\n", "tab-separated columns"),
        (b"index\timage_path\tquestion\tanswer\n1\tx.jpg\t?\ty\n", "VLMEvalKit's local copy"),
        (b"index\timage\tquestion\tanswer\n", "expected at least one question"),
        (b"index\timage\tquestion\tanswer\n1\tx\t?\n", "row 0: expected 4 cells, got 3"),
        (b"index\timage\tquestion\tanswer\n1\tx\t?\ty\tz\n", "row 0: expected 4 cells, got 5"),
        (b"index\timage\tquestion\tanswer\n1\t\t?\t\xff\n", "no such table"),
        (b'index\timage\tquestion\tanswer\n1\t\t?\t"y\n2\t\t?\ty\n', "ends inside of a quoted cell"),
        (b"\x50\x4b\x03\x04", "no such table|got no 'index'"),
    ],
)
def test_refused_files(tmp_path, content, words):
    (tmp_path / "x.tsv").write_bytes(content)
    with pytest.raises(Vr1benchError, match=words):
        read(tmp_path / "x.tsv", OPEN)


def test_refused_repeats_missing_files_and_options(tmp_path):
    path = tsv(tmp_path, [asked(), asked()])
    with pytest.raises(Vr1benchError, match=r"row 1 \(index '1'\): expected an index that no other row has"):
        read(path, OPEN)
    with pytest.raises(Vr1benchError, match="cannot read"):
        read(tmp_path / "none.tsv", OPEN)
    for options in ({}, {"questions": "closed"}, {**OPEN, "form": "gqa"}):
        with pytest.raises(Vr1benchError, match="options of the split"):
            read(path, options)


@pytest.mark.parametrize(
    ("cell", "texts"),
    [
        ("yes", ("yes",)), ("['a', 'b']", ("a", "b")), (" [2016, 2018]", ("2016", "2018")),
        ("[Yes, No]", ("[Yes, No]",)), ("[]", ("[]",)),
        ("[", ("[",)), ("[1", ("[1",)), ("[__import__('os')]", ("[__import__('os')]",)),
        ("[" * 9000 + "]" * 9000, ("[" * 9000 + "]" * 9000,)), ("{'a': 1}", ("{'a': 1}",)),
    ],
)  # fmt: skip
def test_accepted_answers(cell, texts):
    assert accepted(cell) == texts


# --- lmms-lab's rows


def parquet(path, rows):
    pa = pytest.importorskip("pyarrow", reason="needs pyarrow, which comes with `datasets`")
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def rows_of(path, **options):
    return READERS["qa-rows"](Files(path, path.parent, options))


def held(data, name="x.png"):
    return {"bytes": data, "path": name}


def test_gqa_joins_questions_and_pictures(tmp_path):
    parquet(
        tmp_path / "pictures/testdev-00000-of-00001.parquet",
        [{"id": "n1", "image": held(BLUE)}, {"id": "n2", "image": held(RED)}],
    )
    questions = [
        {"id": "201", "imageId": "n2", "question": "Is it red?", "answer": "yes", "fullAnswer": "Yes, it is red."},
        {"id": "202", "imageId": "n1", "question": "What colour?", "answer": "blue", "fullAnswer": "Blue."},
        {"id": "203", "imageId": "n2", "question": "What colour?", "answer": "red", "fullAnswer": "Red."},
    ]
    path = parquet(tmp_path / "questions/testdev-00000-of-00001.parquet", questions)
    where = "../pictures/testdev-00000-of-00001.parquet"
    data = rows_of(path, form="gqa", pictures=where)
    assert [(s.id, s.problem, s.answers) for s in data] == [
        ("0", "Is it red?", ("yes",)), ("1", "What colour?", ("blue",)), ("2", "What colour?", ("red",)),
    ]  # fmt: skip
    assert [s.images[0].read_bytes() for s in data] == [RED, BLUE, RED]
    assert [s.width for s in data] == [12, 20, 12]
    with pytest.raises(Vr1benchError, match="`pictures` goes with form gqa"):
        rows_of(path, form="gqa")
    for file in (tmp_path / "pictures/testdev.images").iterdir():
        file.unlink()
    table = Files(path, path.parent, {"form": "gqa", "pictures": where}, lay_out=False)
    assert len(READERS["qa-rows"](table)) == 3
    assert not list((tmp_path / "pictures/testdev.images").iterdir())
    before = data.sha256
    parquet(
        tmp_path / "pictures/testdev-00000-of-00001.parquet",
        [{"id": "n1", "image": held(RED)}, {"id": "n2", "image": held(BLUE)}],
    )
    assert rows_of(path, form="gqa", pictures=where).sha256 != before
    parquet(path, [{**questions[0], "imageId": "n3"}])
    with pytest.raises(Vr1benchError, match="row 0: asks about picture 'n3', which no row holds"):
        rows_of(path, form="gqa", pictures=where)


def test_ai2d_names_the_place_of_the_answer(tmp_path):
    row = {"question": "What eats grass?", "options": ["cow", "dog", "sun", "1"], "answer": "2", "image": held(RED)}
    path = parquet(tmp_path / "test-00000-of-00001.parquet", [row, {**row, "options": ["x", "y"], "answer": "0"}])
    data = rows_of(path, form="ai2d")
    assert [(s.choices, s.answers) for s in data] == [(("cow", "dog", "sun", "1"), ("C",)), (("x", "y"), ("A",))]
    for answer in ("4", "-1", "C", "", "9" * 400, "²"):
        parquet(path, [{**row, "answer": answer}])
        with pytest.raises(Vr1benchError, match="row 0: expected the place of one of 4 options"):
            rows_of(path, form="ai2d")


def test_chartqa_has_two_kinds(tmp_path):
    row = {"question": "How many?", "answer": "14", "image": held(RED)}
    rows = [{**row, "type": "human_test"}, {**row, "type": "augmented_test", "answer": "5.2%"}]
    data = rows_of(parquet(tmp_path / "test.parquet", rows), form="chartqa")
    assert [(s.tags, s.answers, s.choices) for s in data] == [
        (("human",), ("14",), ()),
        (("augmented",), ("5.2%",), ()),
    ]


SEED = {
    "question": "How many towels are in the image?", "choice_a": "One", "choice_b": "Two", "choice_c": "Three",
    "choice_d": "Four", "answer": "A", "data_type": "image", "question_id": "101669", "image": [held(RED)],
    "question_type_id": 5,
}  # fmt: skip


def test_seed_keeps_the_images(tmp_path):
    video = {**SEED, "data_type": "video", "image": [held(RED), held(BLUE)]}
    path = parquet(tmp_path / "test.parquet", [SEED, video, {**SEED, "question_type_id": 1, "answer": "D"}])
    data = rows_of(path, form="seed")
    assert [(s.id, s.answers, s.tags) for s in data] == [("0", ("A",), ("type 5",)), ("1", ("D",), ("type 1",))]
    assert data[0].choices == ("One", "Two", "Three", "Four")
    assert data.warnings == {"video questions, left out": 1}
    for images in ([], [held(RED), held(BLUE)]):
        parquet(path, [{**SEED, "image": images}, SEED])
        with pytest.raises(Vr1benchError, match=f"row 0: {len(images)} pictures; expected one"):
            rows_of(path, form="seed")


def test_json_lines_name_files(tmp_path):
    (tmp_path / "a.png").write_bytes(RED)
    row = {"type": "human_test", "question": "?", "answer": "1", "image": "a.png"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    (sample,) = rows_of(tmp_path / "rows.jsonl", form="chartqa")
    assert sample.images == (tmp_path / "a.png",)
    (tmp_path / "rows.jsonl").write_text(json.dumps({**row, "image": "../a.png"}))
    with pytest.raises(Vr1benchError, match="does not leave the folder"):
        rows_of(tmp_path / "rows.jsonl", form="chartqa")


def test_refused_tables(tmp_path):
    path = parquet(tmp_path / "test.parquet", [{"question": "?", "answer": "1", "image": held(RED)}])
    with pytest.raises(Vr1benchError, match="missing required field `type`"):
        rows_of(path, form="chartqa")
    for options in ({}, {"form": "vqa"}, {"form": "ai2d", "pictures": "x.parquet"}):
        with pytest.raises(Vr1benchError, match="options of the split"):
            rows_of(path, **options)
    parquet(path, [{**SEED, "data_type": "video"}])
    with pytest.raises(Vr1benchError, match="expected at least one question about an image, got none"):
        rows_of(path, form="seed")
    parquet(path, [{**SEED, "choice_a": ""}])
    with pytest.raises(Vr1benchError, match="got 'A' and the options B, C, D"):
        rows_of(path, form="seed")
