"""Hub rows: two dialects of RefCOCO, ODinW-13, Vision-R1's data; as JSON lines, parquet and arrow."""

import hashlib
import json
import pickle

import pytest
from PIL import Image

from vr1bench.errors import Vr1benchError
from vr1bench.readers import READERS, Files
from vr1bench.readers.pictures import Album

# The first two rows of lmms-lab/RefCOCO val as the hub's viewer shows them; their picture is in ../shared/data.
LMMS = [
    {
        "question_id": "1537681",
        "question": "Please carefully observe the area circled in the image and come up with a caption for the area.",
        "answer": [
            "bowl behind the others can only see part",
            "Dish in top right corner",
            "White dish in the top right corner.",
            "white pot upper right corner",
        ],
        "bbox": [468.29998779296875, 0.9100000262260437, 171.6999969482422, 116.12000274658203],
        "iscrowd": 0,
        "file_name": "COCO_train2014_000000580957_4.jpg",
    },
    {
        "question_id": "710706",
        "question": "Please carefully observe the area circled in the image and come up with a caption for the area.",
        "answer": ["front bowl w/carrots in it", "bowl of carrots", "bowl of carrots", "carrots"],
        "bbox": [151.9600067138672, 139.4600067138672, 454.92999267578125, 283.7300109863281],
        "iscrowd": 0,
        "file_name": "COCO_train2014_000000580957_2.jpg",
    },
]
# The first row of jxu124/refcoco train as the viewer shows it (segmentation left out; its box as the card's readers
# tell: xyxy, beside `raw_anns` with xywh).
JXU124 = {
    "sent_ids": [0, 1, 2],
    "file_name": "COCO_train2014_000000581857_16.jpg",
    "ann_id": 1719310,
    "ref_id": 0,
    "image_id": 581857,
    "split": "train",
    "sentences": [{"raw": "blue shirt", "sent": "blue shirt", "sent_id": 2, "tokens": ["blue", "shirt"]}],
    "category_id": 1,
    "raw_anns": '{"area": 14863.615599999997, "iscrowd": 0, "bbox": [103.93, 299.99, 134.22, 177.42]}',
    "raw_image_info": '{"license": 3, "file_name": "COCO_train2014_000000581857.jpg", "height": 640, "width": 427}',
    "image_path": "coco/train2014/COCO_train2014_000000581857.jpg",
    "bbox": [103.93, 299.99, 238.15, 477.41],
    "captions": ["the lady with the blue shirt", "lady with back to us", "blue shirt"],
}


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path, reader="rec-rows", images=".", **options):
    return READERS[reader](Files(path, path.parent / images, options))


@pytest.fixture
def lmms(tmp_path):
    Image.new("RGB", (640, 428)).save(tmp_path / "COCO_train2014_000000580957.jpg")
    return lines(tmp_path / "val.jsonl", LMMS)


def test_lmms_lab_is_xywh_and_a_sample_a_sentence(lmms):
    data = read(lmms, boxes="xywh")
    assert [sample.queries[0] for sample in data] == LMMS[0]["answer"] + LMMS[1]["answer"]
    first = data[0]
    assert first.gold.boxes.round(2).tolist() == [[468.3, 0.91, 640, 117.03]]
    assert (first.width, first.height, first.gold.ids.tolist()) == (640, 428, [1537681])
    assert first.images == (lmms.parent / "COCO_train2014_000000580957.jpg",)
    assert "gold boxes overrunning the image" not in data.warnings


def test_jxu124_is_xyxy_and_says_its_sizes(tmp_path):
    data = read(lines(tmp_path / "train.jsonl", [JXU124]), boxes="xyxy")
    assert [sample.queries[0] for sample in data] == JXU124["captions"]
    assert data[2].gold.boxes.tolist() == [JXU124["bbox"]]
    assert (data[0].width, data[0].height) == (427, 640)
    assert data[0].images == (tmp_path / "coco/train2014/COCO_train2014_000000581857.jpg",)


def test_what_coco_says_of_the_image_is_read_strictly(tmp_path):
    path = lines(tmp_path / "train.jsonl", [{**JXU124, "raw_image_info": '{"height": 640}'}])
    with pytest.raises(Vr1benchError, match=r"row 0: raw_image_info: .*required field `width`"):
        read(path, boxes="xyxy")


def test_the_numbers_must_be_named(lmms):
    with pytest.raises(Vr1benchError, match="missing required field `boxes`"):
        read(lmms)


def test_rows_of_one_split_by_their_column(tmp_path):
    path = lines(tmp_path / "all.jsonl", [JXU124, {**JXU124, "split": "testA", "captions": ["x"], "ann_id": 3}])
    assert [sample.queries[0] for sample in read(path, boxes="xyxy", split="testA")] == ["x"]
    with pytest.raises(Vr1benchError, match="no row of split 'val'"):
        read(path, boxes="xyxy", split="val")


def ref(ann_id, split):
    return {"ann_id": ann_id, "image_id": 1, "split": split, "sentences": []}


def test_unc_and_google_apart(lmms):
    """lmms-lab's `val` is both; an annotation that both chose for val stands twice."""
    rows = [*LMMS, {**LMMS[1]}, {**LMMS[0], "question_id": "5"}]
    lines(lmms, rows)
    unc = [ref(1537681, "val"), ref(710706, "val"), ref(5, "train")]
    google = [ref(1537681, "train"), ref(710706, "val"), ref(5, "val")]
    for splitter, refs in (("unc", unc), ("google", google)):
        (lmms.parent / f"refs({splitter}).p").write_bytes(pickle.dumps(refs, protocol=0))
    both = read(lmms, boxes="xywh")
    assert len(both) == 16
    assert both.warnings["rows of an annotation that an earlier row has too"] == 1
    chosen = {name: read(lmms, boxes="xywh", split="val", refs=f"refs({name}).p") for name in ("unc", "google")}
    assert [int(sample.gold.ids[0]) for sample in chosen["unc"]][::4] == [1537681, 710706]
    assert [int(sample.gold.ids[0]) for sample in chosen["google"]][::4] == [710706, 5]
    assert chosen["unc"].warnings == {}


def test_the_refs_are_in_the_hash(lmms):
    refs = lmms.parent / "refs.p"
    said = []
    for chosen in ([ref(1537681, "val")], [ref(710706, "val")]):
        refs.write_bytes(pickle.dumps(chosen))
        said.append(read(lmms, boxes="xywh", split="val", refs="refs.p").sha256)
    plain = read(lmms, boxes="xywh").sha256
    assert len({*said, plain}) == 3
    assert plain == hashlib.sha256(lmms.read_bytes()).hexdigest()


def test_lines_with_a_mark_of_byte_order(lmms):
    lmms.write_bytes(b"\xef\xbb\xbf" + lmms.read_bytes())
    assert len(read(lmms, boxes="xywh")) == 8


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ([{**LMMS[0], "answer": [" "]}], {}, "expected a sentence in answer or captions, got 1 blank ones"),
        ([{**LMMS[0], "answer": []}], {}, "expected a sentence in answer or captions, got 0 blank ones"),
        ([{}], {"split": "val"}, "no row of split 'val', of 1; expected some"),
        ([{"question_id": "9"}], {"split": "val", "refs": "refs.p"}, r"no row of split 'val' in refs\.p, of 1"),
    ],
)
def test_a_table_that_leaves_nothing_to_ask(lmms, rows, options, words):
    (lmms.parent / "refs.p").write_bytes(pickle.dumps([ref(1537681, "val")]))
    lines(lmms, [{**LMMS[0], **row} for row in rows])
    with pytest.raises(Vr1benchError, match=words):
        read(lmms, boxes="xywh", **options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bbox": [1, 2, -3, 4]}, "sizes of 0 or more"),
        ({"bbox": [1, 2, 3]}, "row 1: .*of length 4"),
        ({"bbox": None}, "Expected `array`, got `null`"),
        ({"answer": "a cat"}, "Expected `array"),
        ({"answer": None}, "row 1: expected the column answer or captions"),
        ({"file_name": "../x.jpg"}, "row 1: expected an image's file name that does not leave the folder"),
        ({"file_name": "/etc/passwd"}, "does not leave the folder"),
        ({"file_name": "x" * 4097}, "row 1: .*at most 4096 bytes"),
        ({"answer": ["x" * 20_001]}, "a sentence in answer or captions of 1 to 20000 characters"),
        ({"file_name": None}, "does not leave the folder .*got ''"),
        ({"file_name": "none.jpg"}, "none.jpg: no such file"),
        ({"width": 0, "height": 3}, "Expected `int` >= 1"),
        ({"image": {"bytes": "bm8gcGljdHVyZQ=="}}, r"Expected `bytes \| null`, got `str`"),
    ],
)
def test_refused_rows(lmms, change, words):
    lines(lmms, [LMMS[0], {**LMMS[1], **change}])
    with pytest.raises(Vr1benchError, match=words):
        read(lmms, boxes="xywh")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"[1]\n", "line 1: Expected `object`, got `array`"),
        (b'{"bbox": [1, 2, NaN, 4]}\n', "line 1: JSON is malformed"),
        (b"\xff{}\n", "line 1"),
        (b"<html><body>Sign in</body></html>", "is a web page, not JSON"),
    ],
)
def test_refused_lines(lmms, content, words):
    lmms.write_bytes(content)
    with pytest.raises(Vr1benchError, match=words):
        read(lmms, boxes="xywh")


def test_blank_sentences_are_left_out_and_counted(lmms):
    lines(lmms, [{**LMMS[0], "answer": ["a", " "]}])
    assert read(lmms, boxes="xywh").warnings == {"blank sentences, left out": 1}


def test_unknown_tables(tmp_path):
    (tmp_path / "val.csv").write_text("a")
    with pytest.raises(Vr1benchError, match=r"expected a table, \.parquet, \.arrow or \.jsonl"):
        read(tmp_path / "val.csv", boxes="xywh")


# --- tables with pictures inside


def parquet(path, rows):
    pa = pytest.importorskip("pyarrow", reason="needs pyarrow, which comes with `datasets`")
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def arrow(path, rows, form="new_stream"):
    pa = pytest.importorskip("pyarrow", reason="needs pyarrow, which comes with `datasets`")
    table = pa.Table.from_pylist(rows)
    with getattr(pa.ipc, form)(str(path), table.schema) as file:
        file.write_table(table)
    return path


def test_real_rows_with_their_real_picture(tmp_path, shared_data):
    name = "COCO_train2014_000000580957.jpg"
    photo = (shared_data / "refcoco_train2014" / name).read_bytes()
    rows = [{**row, "image": {"bytes": photo, "path": name}} for row in LMMS]
    path = parquet(tmp_path / "data" / "val-00000-of-00001.parquet", rows)
    data = read(path, boxes="xywh")
    assert len(data) == 8
    (picture,) = {sample.images[0] for sample in data}
    assert picture.parent == tmp_path / "data" / "val.images"
    assert (picture.read_bytes(), picture.suffix) == (photo, ".jpg")
    assert (data[0].width, data[0].height) == (640, 428)
    assert "gold boxes overrunning the image" not in data.warnings
    # a second reading writes nothing anew
    before = picture.stat().st_mtime_ns
    assert read(path, boxes="xywh").sha256 == data.sha256
    assert picture.stat().st_mtime_ns == before
    assert [file.name for file in picture.parent.iterdir()] == [picture.name]


def png(width=20, height=10):
    import io

    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


def with_picture(row, **size):
    return {**row, "image": {"bytes": png(**size), "path": None}}


@pytest.mark.parametrize("suffix", ["", "-4fe3e6340cfb69ed"])
def test_shards_are_read_together(tmp_path, suffix):
    paths = [tmp_path / f"val-0000{i}-of-00002{suffix}.parquet" for i in range(2)]
    for path, row in zip(paths, LMMS, strict=True):
        parquet(path, [with_picture(row)])
    data = read(paths[0], boxes="xywh")
    assert len(data) == 8
    assert len(list((tmp_path / "val.images").iterdir())) == 1
    paths[1].unlink()
    with pytest.raises(Vr1benchError, match=r"has 2 shards, and val-00001-of-00002\.parquet is missing"):
        read(paths[0], boxes="xywh")


@pytest.mark.parametrize("form", ["new_stream", "new_file"])
def test_both_forms_of_arrow(tmp_path, form):
    path = arrow(tmp_path / "data.arrow", [with_picture(row) for row in LMMS], form)
    assert len(read(path, boxes="xywh")) == 8


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_broken_tables(tmp_path, suffix):
    path = tmp_path / f"val{suffix}"
    path.write_bytes(b"PAR1 not a table")
    with pytest.raises(Vr1benchError, match=f"no whole {suffix[1:]} table"):
        read(path, boxes="xywh")


def test_pictures_must_be_pictures_all_of_a_kind(tmp_path):
    rows = [with_picture(LMMS[0]), {**LMMS[1], "image": {"bytes": None, "path": "x.png"}}]
    with pytest.raises(Vr1benchError, match="row 1: some rows hold their picture"):
        read(parquet(tmp_path / "a.parquet", rows), boxes="xywh")
    rows = [{**LMMS[0], "image": {"bytes": b"<script>", "path": "../../x.html"}}]
    with pytest.raises(Vr1benchError, match="row 0: no picture"):
        read(parquet(tmp_path / "b.parquet", rows), boxes="xywh")
    assert not (tmp_path / "b.images").exists()
    with pytest.raises(Vr1benchError, match=r"row 0: no picture \(no image format is recognised in its 8 bytes\)"):
        read(tmp_path / "b.parquet", boxes="xywh")


def test_a_picture_that_would_fill_the_memory(tmp_path):
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 13_000, 13_000, 1, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.warns(Image.DecompressionBombWarning):  # Pillow's own; it refuses twice as many
        assert Album(tmp_path).keep(bomb, "row 0")[1] == (13_000, 13_000)
    bomb = bomb.replace(struct.pack(">I", 13_000), struct.pack(">I", 60_000))
    with pytest.raises(Vr1benchError, match="image row 0: no picture"):
        Album(tmp_path).keep(bomb, "row 0")


def test_an_album_that_cannot_be_written(tmp_path):
    (tmp_path / "taken").write_text("a file, no folder")
    with pytest.raises(Vr1benchError, match=r"cannot write .*copy the table to a folder"):
        Album(tmp_path / "taken").keep(png(), "row 0")


# --- detection


def odinw_rows(shared_data):
    """Two real chess photos with their real gold, in the columns that lmms-eval reads of kcz358/ODinW-13."""
    folder = shared_data / "odinw/ChessPieces/Chess Pieces.v23-raw.coco/valid"
    gold = json.loads((folder / "annotations_without_background.json").read_text())
    names = {row["id"]: row["name"] for row in gold["categories"]}
    rows = []
    for image in gold["images"][:2]:
        own = [row for row in gold["annotations"] if row["image_id"] == image["id"]]
        boxes = [[x, y, x + w, y + h] for x, y, w, h in (row["bbox"] for row in own)]
        rows.append(
            {
                "image": {"bytes": (folder / image["file_name"]).read_bytes(), "path": image["file_name"]},
                "categories": list(names.values()),
                "bboxes": boxes,
                "labels": [names[row["category_id"]] for row in own],
                "dataset_name": "ChessPieces",
            }
        )
    return rows, READERS["coco"](Files(folder / "annotations_without_background.json", folder))


def test_odinw_rows_are_the_coco_files(tmp_path, shared_data):
    rows, coco = odinw_rows(shared_data)
    other = {**with_picture({}), "categories": ["hand"], "bboxes": [], "labels": [], "dataset_name": "EgoHands"}
    path = parquet(tmp_path / "test.parquet", [*rows, other])
    data = read(path, "detect-rows", dataset="ChessPieces")
    assert len(data) == 2
    for ours, theirs in zip(data, coco[:2], strict=True):
        assert ours.queries == theirs.queries
        assert ours.gold.boxes.tolist() == theirs.gold.boxes.tolist()
        assert ours.gold.labels.tolist() == theirs.gold.labels.tolist()
        assert (ours.width, ours.height) == (theirs.width, theirs.height)
        assert ours.images[0].read_bytes() == theirs.images[0].read_bytes()
    empty = read(path, "detect-rows", dataset="EgoHands")
    assert (len(empty), len(empty[0].gold), empty[0].queries) == (1, 0, ("hand",))
    with pytest.raises(
        Vr1benchError, match=r"2 sets, and no `dataset` is named; .*holds: 'ChessPieces' \(2\), 'EgoHands'"
    ):
        read(path, "detect-rows")
    with pytest.raises(Vr1benchError, match="no rows of dataset 'chess'"):
        read(path, "detect-rows", dataset="chess")


DETECTION = {
    "image": "a.png",
    "width": 20,
    "height": 10,
    "categories": ["Q", "q", "o", "o "],
    "bboxes": [[1, 2, 3, 4], [0, 0, 20, 10.5]],
    "labels": ["q", "o "],
    "dataset_name": "boggle",
}


def test_names_keep_case_and_spaces(tmp_path):
    data = read(lines(tmp_path / "test.jsonl", [DETECTION, DETECTION]), "detect-rows")
    assert data[1].queries == ("Q", "q", "o", "o ")
    assert data[1].gold.labels.tolist() == ["q", "o "]
    assert data[1].gold.ids.tolist() == [3, 4]
    assert data.warnings == {"gold boxes overrunning the image": 2}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": ["q"]}, "row 0: 2 boxes and 1 labels; expected as many"),
        ({"labels": ["q", "O"]}, r"the label \['O'\]; names keep case and spaces"),
        ({"labels": [0, 1]}, "Expected `str`, got `int`"),
        ({"categories": []}, "expected names"),
        ({"categories": ["q", "o ", ""]}, "expected names"),
        ({"categories": ["q", "o ", "a\0"]}, r"names\[2\]: expected a name .* without control characters"),
        ({"categories": ["q", "o ", "x" * 20_001]}, r"names\[2\]: expected a name of 1 to 20000 characters"),
        ({"bboxes": [[1, 2, 3, 4], [0, 0, 1e200, 1e200]]}, "corners and area finite"),
        ({"bboxes": [[1, 2, 3, 4], [5, 5, 1, 9]]}, "x2 >= x1"),
    ],
)
def test_refused_detections(tmp_path, change, words):
    with pytest.raises(Vr1benchError, match=words):
        read(lines(tmp_path / "test.jsonl", [{**DETECTION, **change}]), "detect-rows")


# In the form that Vision-R1's own code reads (visionr1_qwen.py); no row of the set was seen.
VISION = {
    "image": "a.jpg",
    "problem": "Examine the image for any objects from the category set. Report the coordinates of each detected "
    "object. The category set includes person, Dining Table.",
    "solution": '[["person", [[1, 2, 30.5, 40], [3, 4, 5, 6]]], ["dining table", [[0, 0, 64, 48]]]]',
    "width": 64,
    "height": 48,
    "num_instances": 3,
    "target_id_maps": '{"Dining Table": 2, "person": 1, "background": 0}',
}


def test_vision_r1(tmp_path):
    (sample,) = read(lines(tmp_path / "data.jsonl", [VISION]), "vision-r1")
    assert sample.queries == ("person", "Dining Table")
    assert sample.gold.labels.tolist() == ["person", "person", "Dining Table"]
    assert sample.gold.boxes.tolist() == [[1, 2, 30.5, 40], [3, 4, 5, 6], [0, 0, 64, 48]]
    assert sample.problem == VISION["problem"]


def test_vision_r1_shards_with_pictures(tmp_path):
    rows = [{**VISION, "image": {"bytes": png(64, 48), "path": None}, "width": "64", "height": "48"}] * 2
    arrow(tmp_path / "data-00000-of-00001.arrow", rows)
    data = read(tmp_path / "data-00000-of-00001.arrow", "vision-r1")
    assert len(data) == 2
    assert data[1].images[0].is_file()


def test_spellings_that_differ_by_case_alone_stay_apart(tmp_path):
    row = {**VISION, "solution": '[["q", [[1, 2, 3, 4]]], ["Q", []]]', "target_id_maps": '{"Q": 1, "q": 2}'}
    (sample,) = read(lines(tmp_path / "data.jsonl", [row]), "vision-r1")
    assert sample.gold.labels.tolist() == ["q"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"solution": "[["}, "row 0: solution is not valid JSON"),
        ({"solution": '[["person", [[1, 2, 3]]]]'}, "row 0: solution: .*of length 4"),
        ({"solution": '[["person", [[1, 2, NaN, 4]]]]'}, "holds NaN"),
        ({"solution": '[["cat", [[1, 2, 3, 4]]]]'}, r"the label \['cat'\]"),
        ({"target_id_maps": '{"person": "one"}'}, "target_id_maps: Expected `int`, got `str`"),
        ({"target_id_maps": '{"background": 0}', "solution": "[]"}, "expected names"),
        ({"problem": "x" * 20_001}, r"rows\[0\]: expected a problem of at most 20000"),
        ({"problem": None}, "Expected `str`, got `null`"),
    ],
)
def test_refused_vision_r1(tmp_path, change, words):
    with pytest.raises(Vr1benchError, match=words):
        read(lines(tmp_path / "data.jsonl", [{**VISION, **change}]), "vision-r1")
