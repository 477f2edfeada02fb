"""`vr1bench show`: what a person must know of a benchmark; and the papers' rows that ship."""

import csv
import re
import subprocess
import sys

import pytest
from command_line import typed

from vr1bench.benchmark import METRICS, NMS_METRICS, Benchmark, benchmarks, find, fingerprint, suites
from vr1bench.errors import Vr1benchError
from vr1bench.protocol import protocols
from vr1bench.published import published, read_published
from vr1bench.showing import JUDGED, WIDTH, describe


@pytest.mark.parametrize("name", sorted({*benchmarks(), *suites()}))
def test_everything_can_be_shown_and_fits(name):
    text = describe(name)
    assert text.startswith(name)
    for line in text.splitlines():
        assert len(line) <= WIDTH or " " not in line[16:].strip(), line  # a word that is too long stays whole
        assert line == line.rstrip()


def test_a_benchmark_shows_all_that_is_known():
    text = describe("refcoco")
    for said in (
        "primary metric  Acc@0.5",
        "val, 10834 samples",
        "datasets/omlab/VLM-R1",
        "train2014.zip",
        "14 % of the labels of val, testA and testB wrong (3,054 of 21,586",
        "train2014, which lies in train2017",
        "Qwen2.5-VL-3B, RL step 600       90.55  vlm-r1         VLM-R1, Table 2",
        "Grounding DINO                    90.6  as reported    VLM-R1, Table 1",
        "not run here",
    ):
        assert said in text, said
    header = next(line for line in text.splitlines() if "standard" in line)
    assert header.split() == list(protocols())


@pytest.mark.parametrize(
    ("name", "field", "values"),
    [
        ("odinw/vector", "query", {"vision-r1": "positive (oracle)", "qwen2.5": "one", "standard": "all"}),
        ("coco", "query", {"vision-r1": "all"}),
        ("coco", "ids", {"vision-r1": "as-shipped", "standard": "fixed"}),
        ("lisa", "match", {"vlm-r1": ">", "standard": ">="}),
        ("lisa", "first", {"vlm-r1": "2000", "standard": "-"}),
    ],
)
def test_protocols_stand_side_by_side_as_they_are_on_the_benchmark(name, field, values):
    lines = describe(name).splitlines()
    header = next(line.split() for line in lines if line.split()[:1] == ["standard"])
    row = next(re.split(r" {2,}", line) for line in lines if line.split()[:1] == [field])
    shown = dict(zip(header, row[1:], strict=True))
    assert {rule: shown[rule] for rule in values} == values


def test_every_field_of_a_protocol_is_shown_for_some_task():
    from vr1bench.protocol import WORDS, Protocol
    from vr1bench.showing import ASKED

    assert {field for fields in JUDGED.values() for field in fields} | {*ASKED} == {*Protocol.model_fields} - WORDS


def test_questions_are_the_ones_asked_there():
    assert "griffon       Locate the exact position of {label}" in describe("odinw/Raccoon")
    assert "griffon       Examine the image" in describe("coco")
    assert "vlm-r1-direct   {problem} Please provide" in describe("refcocog")
    assert "standard        the family's own words" in describe("coco")


def test_questions_keep_their_lines_and_their_distance():
    lines = describe("qa/gqa").splitlines()
    start = lines.index(next(line for line in lines if line.startswith("vision-r1 answer ")))
    name, words = re.split(r" {2,}", lines[start])
    assert (name, words) == ("vision-r1 answer", "{question}")
    assert lines[start + 1] == " " * lines[start].index(words) + "Answer the question using a single word or phrase."
    asked = r"\nvision-r1 choose {2,}Question: \{question}\n +Options:\n +\{options}Please"
    assert re.search(asked, describe("qa/ai2d"))


def test_an_oracle_is_called_one():
    told = " ".join(describe("odinw/Raccoon").split())
    assert "oracle under vision-r1 (query = positive): only classes that the gold holds are asked" in told
    assert "oracle under vision-r1 on 13 of 13 (query = positive)" in describe("odinw")
    assert "oracle under vision-r1 on 17 of 22 (query = positive)" in describe("paper-vision-r1")
    for name in ("coco", "refcoco", "qa/gqa", "ovdeval", "refcoco-val"):
        assert "oracle" not in describe(name), name


def test_licences_are_said_where_they_are_known():
    for name in ("coco", *suites()["ovdeval"], *suites()["d3"], "lisa/reasonseg", "odinw/ChessPieces"):
        assert find(name).source.licence, name
    for name in benchmarks():
        if name.startswith("odinw/") and not name.endswith("/kcz358"):
            assert find(name).source.licence in {"Public Domain", "stated in README.roboflow.txt or README.dataset.txt "
                                                 "inside the archive"}, name  # fmt: skip


def test_a_suite_shows_its_members_what_they_share_and_its_mean():
    text = describe("odinw")
    assert text.startswith("odinw: a suite of 13;")
    assert all(f"\n{name} " in text for name in suites()["odinw"])
    assert "Annotation ids" in text
    assert "Packages" in text
    assert "decide 1/13" not in text  # its own, shown with it
    assert "Qwen2.5-VL-7B, Vision-R1       46.0  vision-r1" in text


def test_a_name_of_both_is_the_benchmark_and_a_toml_is_shown(coco_folder):
    assert "in suites       refcoco, refcoco-val, paper-vlm-r1\n" in describe("refcoco")
    path = coco_folder / "small.toml"
    path.write_text('quirks = ["A wet floor."]\n' + path.read_text() + '[source]\nlicence = "none"\nnote = "Mind."\n')
    text = describe(str(path))
    assert "known quirks and warnings\n- A wet floor." in text
    assert "licence         none\nnote            Mind." in text
    assert "published" not in text.split("known quirks")[1]


def test_an_unknown_name_is_said():
    with pytest.raises(Vr1benchError, match="unknown benchmark or suite 'refcoc'; did you mean 'refcoco'"):
        describe("refcoc")


def test_quirks_change_no_fingerprint(coco_folder):
    path = coco_folder / "small.toml"
    plain = find(str(path))
    path.write_text('quirks = ["Loud."]\n' + path.read_text())
    quirky = find(str(path))
    assert quirky.quirks == ("Loud.",)
    assert fingerprint(quirky) == fingerprint(plain)
    assert "quirks" not in quirky.model_dump(mode="json")
    assert Benchmark.model_validate(quirky.model_dump()) == plain


def test_shipped_quirks():
    for name, one in benchmarks().items():
        assert len(set(one.quirks)) == len(one.quirks), name
        assert all(quirk.endswith(".") for quirk in one.quirks), name
    for name, rate in (("refcoco", "14 %"), ("refcoco+", "24 %"), ("refcocog", "5 %")):
        assert any(rate in quirk and "Ref-L4" in quirk for quirk in find(name).quirks)
    assert any("4 images" in quirk for quirk in find("odinw/Packages").quirks)
    assert all(one.quirks for name, one in benchmarks().items() if name.startswith("odinw/"))


def test_the_papers_rows_are_whole_and_name_our_things():
    rows = published()
    assert len({(r.column, r.metric, r.source, r.table, r.name) for r in rows}) == len(rows)
    others = {"as reported", "vlmevalkit", "vlm-r1 unreleased"}
    for row in rows:
        assert row.protocol in {*protocols(), *others}, row
        assert (row.scores == "constant") <= (row.protocol != "as reported"), row
        if row.benchmark in benchmarks():
            one = find(row.benchmark)
            assert row.split in one.splits, row
            assert row.metric in (*METRICS[one.task], *NMS_METRICS, "GP@0.5", "GR@0.5"), row
        assert 0 <= row.fraction <= 1


def _as_printed(row):
    """Benchmark, split and metric as the paper has them: for questions, neither split nor the metric's own name."""
    name = row.benchmark.removeprefix("qa/")
    return (row.benchmark, row.split, row.metric) if name == row.benchmark else (name, "", "accuracy")


def test_the_papers_figures_are_those_of_the_facts(shared_data):
    path = shared_data.parent / "facts" / "published.csv"
    if not path.is_file():
        pytest.skip("needs ../shared/facts/published.csv, which is no part of the repository")
    with path.open(newline="") as file:
        facts = [[row[name] for name in ("source", "model", "benchmark", "split", "metric", "value")]
                 for row in csv.DictReader(file)]  # fmt: skip
    ours = [[row.source, row.model, *_as_printed(row), row.value] for row in published()]
    assert sorted(ours) == sorted(facts)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("S,T,M,,coco,val,AP,high,as reported,", "value"),
        ("S,T,M,,coco,val,AP,50", "protocol"),
        ("S,T,M,,coco,val,AP,50,x,,more", "None"),
        (",T,M,,coco,val,AP,50,x,", "source"),
    ],
)
def test_a_bad_row_is_named(tmp_path, line, words):
    path = tmp_path / "published.csv"
    path.write_text(f"source,table,model,variant,benchmark,split,metric,value,protocol,scores\n{line}\n")
    with pytest.raises(Vr1benchError, match=rf"published.csv:2.*{words}"):
        read_published(path)
    with pytest.raises(Vr1benchError, match="expected a CSV file"):
        read_published(tmp_path / "none.csv")


def test_the_command_prints_and_pipes():
    done = typed("show", "lisa")
    assert done.stdout == describe("lisa") + "\n"
    assert "Example: vr1bench show" in typed("show", "--help").stdout
    unknown = typed("show", "nothing")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr.startswith("error: unknown benchmark or suite 'nothing'")
    assert typed("show").returncode == 2
    code = f"{sys.executable} -m vr1bench.cli show coco | head -1; echo ${{PIPESTATUS[0]}}"
    piped = subprocess.run(["bash", "-c", code], capture_output=True, text=True)
    assert (piped.stdout, piped.stderr) == ("coco\n0\n", "")


def test_the_board_takes_published_rows(tmp_path):
    (tmp_path / "results").mkdir()
    done = typed("board", str(tmp_path / "results"), "--with-published")
    assert done.returncode == 0, done.stderr
    assert "No results yet." in done.stdout
    refused = typed("board", str(tmp_path / "results"), "--with-published", "--write")
    assert refused.returncode == 2
    assert "own numbers only" in refused.stderr
    assert not list((tmp_path / "results").iterdir())
