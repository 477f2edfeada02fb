"""RefCOCO as its authors ship it: Python-2 pickles, read without running anything of them."""

import json
import pickle

import pytest

from vr1bench.errors import Vr1benchError
from vr1bench.readers import READERS, Files
from vr1bench.readers.refer_pickle import picture_name, read_pickle

# refs(unc).p's first ref, as lichengunc/refer's readers publish it, in the opcodes that Python 2's pickle writes;
# the second ref is ours: a split of its own, a byte above ASCII, and a sentence that cleaning emptied.
PYTHON_2 = b"""(lp0
(dp1
S'sent_ids'
p2
(lp3
I0
aI1
aI2
asS'file_name'
p4
S'COCO_train2014_000000581857_16.jpg'
p5
sS'ann_id'
p6
I1719310
sS'ref_id'
p7
I0
sS'image_id'
p8
I581857
sS'split'
p9
S'train'
p10
sS'sentences'
p11
(lp12
(dp13
S'tokens'
p14
(lp15
S'the'
p16
aS'lady'
p17
aS'with'
p18
ag16
aS'blue'
p19
aS'shirt'
p20
asS'raw'
p21
S'THE LADY WITH THE BLUE SHIRT'
p22
sS'sent_id'
p23
I0
sS'sent'
p24
S'the lady with the blue shirt'
p25
sa(dp26
g14
(lp27
sg21
S'lady w back to us'
p28
sg23
I1
sg24
S'lady with back to us'
p29
sasS'category_id'
p30
I1
sa(dp31
g6
L3007L
sg8
I98304
sg9
S'testA'
p32
sg11
(lp33
(dp34
g24
S'caf\xe9 table'
p35
sa(dp36
g21
S'?'
p37
sg24
S''
p38
sasa."""
INSTANCES = {  # the published records of the two annotations and their images
    "images": [
        {"file_name": "COCO_train2014_000000098304.jpg", "height": 424, "width": 640, "id": 98304},
        {"file_name": "COCO_train2014_000000581857.jpg", "height": 640, "width": 427, "id": 581857},
    ],
    "annotations": [
        {
            "area": 197.29899999999986,
            "iscrowd": 0,
            "image_id": 98304,
            "bbox": [263.87, 216.88, 21.13, 15.17],
            "category_id": 18,
            "id": 3007,
        },
        {
            "area": 14863.615599999997,
            "iscrowd": 0,
            "image_id": 581857,
            "bbox": [103.93, 299.99, 134.22, 177.42],
            "category_id": 1,
            "id": 1719310,
        },
    ],
    "categories": [{"id": 1, "name": "person"}],
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "refs(unc).p").write_bytes(PYTHON_2)
    (tmp_path / "instances.json").write_text(json.dumps(INSTANCES))
    return tmp_path


def read(folder, **options):
    return READERS["refer"](Files(folder / "refs(unc).p", folder / "train2014", {"split": "train", **options}))


def test_one_sample_a_sentence(folder):
    data = read(folder)
    assert [sample.queries for sample in data] == [("the lady with the blue shirt",), ("lady with back to us",)]
    first = data[0]
    assert (first.width, first.height) == (427, 640)
    assert first.images == (folder / "train2014" / "COCO_train2014_000000581857.jpg",)
    # VLM-R1's published row of this sentence has this box, rounded to two digits
    assert first.gold.boxes.round(2).tolist() == [[103.93, 299.99, 238.15, 477.41]]
    assert (first.gold.areas[0], first.gold.ids[0]) == (14863.615599999997, 1719310)


def test_python_2_strings_are_latin1_and_an_emptied_sentence_is_asked_raw(folder):
    data = read(folder, split="testA")
    assert [sample.queries[0] for sample in data] == ["café table", "?"]
    assert data[0].gold.boxes.round(2).tolist() == [[263.87, 216.88, 285.0, 232.05]]


def test_both_files_are_in_the_hash(folder):
    before = read(folder).sha256
    changed = json.loads(json.dumps(INSTANCES))
    changed["annotations"][1]["bbox"][0] = 100
    (folder / "instances.json").write_text(json.dumps(changed))
    assert read(folder).sha256 != before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"split": "val"}, r"no ref has the split 'val'; expected one of: testA \(1\), train \(1\)"),
        ({"spilt": "val"}, "unknown field `spilt`.*the reader knows: split, instances"),
        ({"split": 3}, "Expected `str`, got `int`"),
        ({"instances": "other.json"}, "cannot read .*other.json"),
    ],
)
def test_options_refused(folder, options, words):
    with pytest.raises(Vr1benchError, match=words):
        read(folder, **options)


def test_the_split_must_be_told(folder):
    with pytest.raises(Vr1benchError, match="missing required field `split`"):
        READERS["refer"](Files(folder / "refs(unc).p", folder))


class Bomb:
    def __reduce__(self):
        return (open, ("was-here", "w"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps([Bomb()]), r"names (_?io|builtins)\.open; .*nothing of it was run"),
        (pickle.dumps([Bomb()], protocol=0), r"names \w+\.open"),
        (b"cos\nsystem\n(S'true'\ntR.", "names os.system"),
        (b"(S'true'\nios\nsystem\n.", "names os.system"),
        (b"c__builtin__\neval\n(S'1'\ntR.", "names __builtin__.eval"),
        (b"\x80\x02\x82\x01.", "no pickle of plain values"),
        (b"\x80\x02Nr\xff\xff\xff\xff.", "Expected `array`, got `null`"),  # a memo of 4 billion places
        (b"(lp0\n(dp1\n", "no pickle of plain values"),
        (b"I" + b"9" * 5000 + b"\n.", "no pickle of plain values"),
        (b"", "is empty"),
        (b"\x80\x02]q\x00}a.", "missing required field `ann_id` - at `\\$\\[0\\]`"),
        (
            pickle.dumps([{"ann_id": [1], "image_id": 1, "split": "val", "sentences": []}]),
            "Expected `int`, got `array`",
        ),
        (pickle.dumps([{"ann_id": 1, "image_id": 1, "split": "val", "sentences": 5}]), "Expected `array`, got `int`"),
    ],
)
def test_hostile_pickles(folder, content, words, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "refs(unc).p").write_bytes(content)
    with pytest.raises(Vr1benchError, match=words):
        read(folder)
    assert not (folder / "was-here").exists()


def test_a_list_named_a_million_times(folder):
    sentences = [{"sent": "x"}] * 4000
    refs = [{"ann_id": 1, "image_id": 1, "split": "val", "sentences": sentences}] * 4000
    (folder / "refs(unc).p").write_bytes(pickle.dumps(refs))
    with pytest.raises(Vr1benchError, match="16000000 sentences; expected at most"):
        read(folder)


def test_size_is_bounded(folder):
    path = folder / "refs(unc).p"
    with path.open("r+b") as file:
        file.truncate((1 << 28) + 1)
    with pytest.raises(Vr1benchError, match="expected at most 268435456 of a pickle of annotations"):
        read_pickle(path)


def test_an_annotation_of_another_image(folder):
    other = json.loads(json.dumps(INSTANCES))
    first, second = (row["image_id"] for row in other["annotations"])
    other["annotations"][0]["image_id"], other["annotations"][1]["image_id"] = second, first
    (folder / "instances.json").write_text(json.dumps(other))
    with pytest.raises(
        Vr1benchError, match=r"sentences\[0\]: expected an ann_id that instances.json has on that image_id"
    ):
        read(folder)


@pytest.mark.parametrize("rows", ["annotations", "images"])
def test_ids_stand_once(folder, rows):
    other = json.loads(json.dumps(INSTANCES))
    other[rows].append(other[rows][0])
    (folder / "instances.json").write_text(json.dumps(other))
    with pytest.raises(Vr1benchError, match=rf"instances.json: {rows}\[2\]: the id \d+ stands more than once"):
        read(folder)


def test_a_blank_sentence_is_named_after_its_pickle(folder):
    blank = {"ann_id": 1719310, "image_id": 581857, "split": "train", "sentences": [{"sent": " ", "raw": ""}]}
    (folder / "refs(unc).p").write_bytes(pickle.dumps([blank]))
    with pytest.raises(Vr1benchError, match="expected a sentence in sent or raw of 1 to"):
        read(folder)


@pytest.mark.parametrize("field", ["image_id", "id"])
def test_refs_of_other_instances(folder, field):
    other = json.loads(json.dumps(INSTANCES))
    rows = other["images"] if field == "image_id" else other["annotations"]
    rows[1]["id"] = 5
    (folder / "instances.json").write_text(json.dumps(other))
    with pytest.raises(Vr1benchError, match=r"that instances.json lists, got \(1719310, 581857\) \(and 1 more\)"):
        read(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bbox": [1, 2, -3, 4]}, "bbox .*sizes of 0 or more"),
        ({"bbox": [1, 2, float("inf"), 4]}, "holds NaN or Infinity"),
        ({"bbox": [1, 2]}, "of length 4"),
        ({"bbox": [1e308, 2, 1e308, 4]}, "corners and area finite"),
        ({"area": -1}, "a finite area of 0 or more, got -1.0"),
    ],
)
def test_bad_boxes(folder, change, words):
    other = json.loads(json.dumps(INSTANCES))
    other["annotations"][1].update(change)
    (folder / "instances.json").write_text(json.dumps(other))
    with pytest.raises(Vr1benchError, match=words):
        read(folder)


def test_image_names_stay_in_their_folder(folder):
    other = json.loads(json.dumps(INSTANCES))
    other["images"][1]["file_name"] = "../../secret.jpg"
    (folder / "instances.json").write_text(json.dumps(other))
    with pytest.raises(Vr1benchError, match="does not leave the folder"):
        read(folder)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("COCO_train2014_000000581857_16.jpg", "COCO_train2014_000000581857.jpg"),
        ("COCO_train2014_000000546154_298801.jpg", "COCO_train2014_000000546154.jpg"),
        ("COCO_train2014_000000581857.jpg", "COCO_train2014_000000581857.jpg"),
        ("photo_16.jpg", "photo_16.jpg"),
    ],
)
def test_picture_names(said, name):
    assert picture_name(said) == name
