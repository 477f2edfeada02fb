"""Every shipped definition reads data laid out as its source has it; each paper's set runs whole under its protocol.

What `laid_out` writes follows the sources, not the definitions: where the pictures lie, and what the four numbers of a
box are. A definition that says otherwise reads other gold than was written.
"""

import ast
import csv
import re
from pathlib import Path
from statistics import fmean

import pytest
from laid_out import HEIGHT, LMMS_EVAL, NAMES, PICTURES, PROBLEM, REFERRED, SAID, WIDTH, instances, jpeg, lay_out, put

import vr1bench
from vr1bench.benchmark import benchmarks, find, suite, suites
from vr1bench.board import run_table
from vr1bench.definitions import SHIPPED
from vr1bench.prepare import failure, prepare
from vr1bench.protocol import protocols
from vr1bench.published import published

ROOT = Path(__file__).resolve().parents[1]
BOXED = ("detect", "refer")
"""Tasks whose gold is boxes, which are laid out here."""
SHIPPED_ONES = sorted(name for name, one in benchmarks().items() if one.task in BOXED and not one.generated)
ALL_OF_THEM = [(name, split) for name in SHIPPED_ONES for split in benchmarks()[name].splits]


def gold_of(data):
    """What a dataset holds, in an order of its own: (what is asked or named, box)."""
    return sorted(
        (label, box) for s in data for label, box in zip(s.gold.labels.tolist(), s.gold.boxes.tolist(), strict=True)
    )


SENTENCES = sorted((said, [float(x) for x in box]) for _, label, box in REFERRED for said in SAID[label])
BOXES = sorted((label, [float(x) for x in box]) for things in PICTURES.values() for label, box in things)


# --- what the definitions read


@pytest.mark.parametrize(("name", "split"), ALL_OF_THEM)
def test_a_definition_reads_what_its_source_holds(tmp_path, name, split):
    one = find(name)
    lay_out(tmp_path, one, split)
    data = one.load(split, tmp_path)
    if one.task == "detect":
        few = one.splits[split].options.get("keep")
        second = sorted((label, [float(x) for x in box]) for label, box in PICTURES[2])
        assert gold_of(data) == (second if few == "one of each" else BOXES)
    elif name.endswith("/internvl"):
        for (said, box), (truth, exact) in zip(gold_of(data), SENTENCES, strict=True):
            assert said == truth
            assert box == pytest.approx(exact, abs=max(WIDTH, HEIGHT) / 1000)
            assert box != exact
    elif split.endswith("-first"):
        assert gold_of(data) == [pair for pair in SENTENCES if pair[0] != "a dog on the left"]
    else:
        assert gold_of(data) == SENTENCES
    for sample in data:
        assert sample.images[0].is_file()
        assert (sample.width, sample.height) == (WIDTH, HEIGHT)


def test_the_other_places_of_the_annotations_are_read_too(tmp_path):
    """The same data in a folder that people have, with its pictures."""
    for number, name in enumerate(SHIPPED_ONES):
        one = find(name)
        for place in range(1, len(one.splits[one.split].annotations)):
            root = tmp_path / f"{number}-{place}"
            lay_out(root, one, place=place)
            lay_out(tmp_path / "first", one)
            data = one.load(one.split, root)
            assert gold_of(data) == gold_of(one.load(one.split, tmp_path / "first"))
            assert all(sample.images[0].is_file() for sample in data), (name, place)


TRAIN2014 = ("coco/train2014", "rec/train2014")
"""COCO's and VLM-R1's archives of the same pictures, as each unpacks."""
OTHERS = [
    *((one.name, where) for one in suite("refcoco") for where in TRAIN2014),
    *((one.name, where) for one in [*suite("refcoco-refer"), *suite("refcoco-internvl")] for where in TRAIN2014),
    *((one.name, "refer/images/mscoco/images/train2014") for one in suite("refcoco-refer")),  # lichengunc/refer
    *((f"refcoco{name}", "refer/images/mscoco/images/train2014") for name in ("/testB", "+/testA", "g/test")),
    *((one.name, f"ovdeval/images/{one.name.partition('/')[2]}") for one in suite("ovdeval")),  # om-ai-lab/OVDEval
]


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(("name", "where"), OTHERS)
def test_pictures_are_found_where_people_have_them(tmp_path, name, where, place):
    """Pictures lie once, beside any form of the sentences: the 13.5 GB of train2014 serve all of RefCOCO."""
    one = find(name)
    places = one.splits[one.split].annotations
    lay_out(tmp_path, one, place=place % len(places))
    for picture in list(tmp_path.rglob("*.jpg")):
        picture.unlink()
        put(tmp_path / where / picture.name, jpeg())
    data = one.load(one.split, tmp_path)
    assert {sample.images[0].resolve().parent for sample in data} == {(tmp_path / where).resolve()}
    assert all(sample.images[0].is_file() for sample in data)
    assert "there already" in {row.state for row in prepare([name], tmp_path, check=True) if row.benchmark == name}


def test_ovdeval_is_read_as_the_hub_has_it(tmp_path):
    """Flat: logo.json, and logo.tar.gz unpacked beside it."""
    one = find("ovdeval/logo")
    lay_out(tmp_path, one, place=1)
    (tmp_path / "ovdeval/images/logo").rename(tmp_path / "ovdeval/logo")
    assert all(sample.images[0].is_file() for sample in one.load("test", tmp_path))


def test_the_first_folder_that_holds_the_pictures_is_read(tmp_path):
    """An empty folder, which an archive that broke off leaves, hides no pictures; without any the first is named."""
    one = find("refcoco/refer")
    lay_out(tmp_path, one)
    (tmp_path / "rec/train2014").mkdir(parents=True)
    (tmp_path / "coco/train2014").rename(tmp_path / "pictures")
    (tmp_path / "coco/train2014").mkdir()
    first = one.load("val", tmp_path)
    assert first.folder.resolve() == (tmp_path / "coco/train2014").resolve()
    (tmp_path / "rec/train2014").rmdir()
    (tmp_path / "pictures").rename(tmp_path / "rec/train2014")
    assert one.load("val", tmp_path)[0].images[0].is_file()


def test_one_folder_is_written_as_ever():
    """Results go by fingerprints of it."""
    one, several = find("coco").splits["val2017"], find("ovdeval/logo").splits["test"]
    assert one.model_dump(mode="json")["images"] == "../val2017"
    assert several.model_dump(mode="json")["images"] == ["../images/logo", "images/logo", "logo"]
    assert type(several).model_validate(several.model_dump(mode="json")) == several


def test_refcoco_is_the_same_in_every_form_that_holds_the_unc_split(tmp_path):
    for name in ("refcoco", "refcoco/refer", "refcoco/lmms-lab-unc", "refcoco/jxu124"):
        lay_out(tmp_path, find(name))
        assert gold_of(find(name).load("val", tmp_path)) == SENTENCES
        assert find(name).splits["val"].samples == 10834


def test_the_hubs_rows_are_the_thirteen():
    names = [one.name for one in suite("odinw-kcz358")]
    assert names == [f"odinw/{name}/kcz358" for name in LMMS_EVAL]
    for one in suite("odinw-kcz358"):
        (split,) = one.splits.values()
        assert split.samples == find(one.name.removesuffix("/kcz358")).splits["val"].samples
        assert "dataset" in split.options


def test_the_hubs_rows_give_the_macro_mean(tmp_path):
    lay_out(tmp_path, find("odinw/Aquarium/kcz358"))
    results = oracle("odinw-kcz358", "standard", tmp_path)
    assert len(results) == 13
    assert "mean of 13" in run_table(results)
    assert {result.primary.value for result in results} == {1.0}
    assert {result.values.n for result in results} == {3}


@pytest.mark.parametrize("split", ["intra", "inter"])
def test_d3_in_both_scenarios(tmp_path, split):
    for one in suite("d3"):
        assert one.split == "intra"
        lay_out(tmp_path, one)
    results = oracle("d3", "standard", tmp_path, split=split)
    assert {result.primary.value for result in results} == {1.0}
    assert {result.values.primary for result in results} == {"AP"}


def test_every_form_is_under_the_fields_of_its_protocol():
    vlm_r1, vision_r1 = protocols()["vlm-r1"], protocols()["vision-r1"]
    for name, one in benchmarks().items():
        if one.task == "refer" and not one.generated:
            assert (vlm_r1.at(name).shuffle, vlm_r1.at(name).first) == (42, 2000), name
        if name.startswith("odinw/"):
            assert vision_r1.at(name).query == "positive", name


# --- whole papers


PAPERS = {"paper-vision-r1": "vision-r1", "paper-vlm-r1": "vlm-r1"}


def oracle(name, protocol, root, **options):
    return vr1bench.run(
        "nobody", name, engine="oracle", family="qwen2.5-vl", protocol=protocol, data_dir=root, output=root / "out",
        **options,
    )  # fmt: skip


def perfect(one):
    """What right answers score under ids as shipped: id 0 counts as unmatched (pycocotools; cocoapi issue 332).

    All have one score, so the one that the id costs comes first of its class: precision at the end is (n - 1) / n, and
    so are the precision's envelope and the highest recall.
    """
    starts_at_0 = one.name.startswith(("odinw/", "ovdeval/"))
    if not starts_at_0:
        return 1.0
    n = sum(label == NAMES[0] for label, _ in BOXES)
    capped = (100 * (n - 1) // n + 1) / 101 * (n - 1) / n
    return fmean([capped, 1.0, 1.0])


@pytest.mark.parametrize(("name", "protocol"), PAPERS.items())
def test_a_papers_whole_set_runs_under_its_protocol(tmp_path, name, protocol):
    chosen = suite(name)
    for one in chosen:
        lay_out(tmp_path, one)
    names = [one.name for one in chosen]
    results = vr1bench.run(
        "nobody", benchmark=names, engine="oracle", family="qwen2.5-vl", protocol=protocol, data_dir=tmp_path,
        output=tmp_path / "out",
    )  # fmt: skip
    assert [result.key.benchmark for result in results] == names
    for one, result in zip(chosen, results, strict=True):
        assert result.primary.value == pytest.approx(perfect(one), abs=1e-9), one.name
        assert result.key.protocol == protocol
    fixed = vr1bench.run(
        "nobody", benchmark=names, engine="oracle", family="qwen2.5-vl", protocol=protocol, data_dir=tmp_path,
        output=tmp_path / "fixed", overrides={"ids": "fixed"},
    )  # fmt: skip
    assert {result.primary.value for result in fixed} == {1.0}


@pytest.mark.parametrize("name", PAPERS)
def test_what_a_papers_set_needs_is_there_by_prepares_own_check(tmp_path, name):
    chosen = suite(name)
    for one in chosen:
        lay_out(tmp_path, one)
    before = sorted(tmp_path.rglob("*"))
    rows = prepare([name], tmp_path, check=True)
    assert failure(rows) is None
    assert [row.state for row in rows] == ["there already"] * len(chosen)
    assert [row.images for row in rows if row.benchmark.startswith("qa/")] == [1] * len([*tmp_path.glob("qa/*.tsv")])
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["refcoco/lmms-lab", "odinw/Raccoon/kcz358", "vision-r1-data", "qa/ai2d"])
def test_a_check_of_a_table_with_pictures_writes_nothing(tmp_path, name):
    lay_out(tmp_path, find(name))
    before = sorted(tmp_path.rglob("*"))
    (row,) = [row for row in prepare([name], tmp_path, check=True) if row.benchmark == name]
    assert (row.state, row.error) == ("there already", None)
    assert sorted(tmp_path.rglob("*")) == before
    (row,) = [row for row in prepare([name], tmp_path) if row.benchmark == name]
    assert row.state == "there already"
    assert len(list(tmp_path.rglob("*.images/*.jpg"))) == 1


def asked(name, protocol, root):
    """All questions of a benchmark; a paper's protocol has words for every member of its set."""
    lay_out(root, find(name))
    rows = list(vr1bench.questions(name, family="qwen2.5-vl", protocol=protocol, data_dir=root))
    return [row["text"] for row in rows], [row["max_tokens"] for row in rows]


def test_the_words_of_vision_r1(tmp_path):
    texts, tokens = asked("coco", "vision-r1", tmp_path)
    assert set(tokens) == {512}
    assert set(texts) == {
        "Locate every item from the category list in the image and output the coordinates in JSON format. The category "
        "set includes red dog, blue cat, horse."
    }
    for one in [*suite("odinw"), *suite("odinw-ood")]:
        texts, _ = asked(one.name, "vision-r1", tmp_path)
        present = [sorted({label for label, _ in things}, key=NAMES.index) for things in PICTURES.values()]
        assert texts == [
            f"Locate every {label} in the image and output the coordinates in JSON format."
            for labels in present
            for label in labels
        ]


def test_the_words_of_vlm_r1(tmp_path):
    shipped = [one for one in benchmarks().values() if one.name.startswith(("refcoco", "lisa"))]
    assert len(shipped) > 20
    for one in shipped:
        texts, tokens = asked(one.name, "vlm-r1", tmp_path)
        assert set(tokens) == {256}
        assert sorted(texts) == [
            f"{PROBLEM.format(said)} First output the thinking process in <think> </think> tags and then output the "
            "final answer in <answer> </answer> tags. Output the final answer in JSON format."
            for said, _ in SENTENCES
        ]
    for one in [find("coco-filtered"), *suite("ovdeval")]:
        texts, _ = asked(one.name, "vlm-r1", tmp_path)
        assert len(texts) == 3
        assert all(text.startswith("First thinks about the reasoning process in the mind") for text in texts)
        for text in texts:
            listed = text.partition("detect the following objects: ")[2].partition(". Output the bbox")[0]
            assert sorted(ast.literal_eval(listed)) == sorted(NAMES)


def test_a_papers_set_holds_what_the_paper_reports_of_its_own():
    for name, source in (("paper-vision-r1", "Vision-R1 "), ("paper-vlm-r1", "VLM-R1 ")):
        own = {row.benchmark for row in published() if row.source.startswith(source) and row.protocol != "as reported"}
        held = {one.name for one in suite(name)}
        for benchmark in own:
            parts = {benchmark} if benchmark in benchmarks() else {one.name for one in suite(benchmark)}
            assert parts <= held, benchmark


def test_published_rows_name_what_is_there():
    """A row that names nothing stands in no column and under no benchmark: nobody would see it."""
    with (SHIPPED / "published.csv").open(newline="") as file:
        named = {row["benchmark"] for row in csv.DictReader(file)}
    assert named <= {*benchmarks(), *suites()}


# --- a definition of one's own


def test_the_example_for_contributors_is_all_it_takes(tmp_path):
    """A new set in a known format: the TOML of CONTRIBUTING.md as it stands, and no Python."""
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.DOTALL)
    example = next(block for block in blocks if "name =" in block)
    (tmp_path / "mine.toml").write_text(example)
    one = find(str(tmp_path / "mine.toml"))
    assert one.name not in benchmarks()
    assert (one.task, one.reader) == ("detect", "coco")
    where = one.splits[one.split]
    path = tmp_path / where.annotations[0]
    put(path, instances(0))
    for i in PICTURES:
        put(path.parent / where.images / f"{i}.jpg", jpeg())
    done = {"benchmark": str(tmp_path / "mine.toml"), "engine": "oracle", "family": "qwen2.5-vl", "data_dir": tmp_path}
    (result,) = vr1bench.run("nobody", output=tmp_path / "out", **done)
    assert (result.key.benchmark, result.primary.value) == (one.name, 1.0)
