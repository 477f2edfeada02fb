"""Questions from file to result: the shipped definitions, what is asked word for word, what is counted."""

import base64
import csv
import hashlib
import io
import json

import pytest
from command_line import started, typed
from PIL import Image

import vr1bench
from vr1bench.benchmark import benchmarks, find, fingerprint, suite
from vr1bench.board import notes
from vr1bench.families import FAMILIES
from vr1bench.prepare import failure, prepare
from vr1bench.protocol import KINDS, protocol, protocols
from vr1bench.showing import describe
from vr1bench.types import Questions

OPTIONS = {"A": "cow", "B": "dog", "C": "two, or three", "D": "None"}
QUIZ = {
    "qa/gqa": [
        {"question": "Is it {options} or {width}?", "answer": "yes"},
        {"question": "What is left?", "answer": "dog"},
    ],
    "qa/chartqa": [
        {"question": "How many?", "answer": "100", "split": "test_human"},
        {"question": "Which share?", "answer": "5%", "split": "test_augmented"},
        {"question": "Which years?", "answer": "[2016, 2018]", "split": "test_augmented"},
    ],
    "qa/ai2d": [
        {"question": "What eats grass?", **OPTIONS, "answer": "A"},
        {"question": "?", **OPTIONS, "answer": "D"},
    ],
    "qa/seed": [
        {"question": "How many?", **OPTIONS, "answer": "C", "category": "Instances Counting"},
        {"question": "Where?", **OPTIONS, "answer": "B", "category": "Scene Understanding"},
    ],
}
QUIZ["qa/ai2d-no-mask"] = QUIZ["qa/ai2d"]


def picture():
    file = io.BytesIO()
    Image.new("RGB", (56, 28), (90, 120, 30)).save(file, "PNG")
    return file.getvalue()


def lay_out(root, name, place=0):
    """A set in VLMEvalKit's form, where its definition looks for it; indices count from 100."""
    one = find(name)
    path = root / one.splits[one.split].annotations[place]
    path.parent.mkdir(parents=True, exist_ok=True)
    inside = base64.b64encode(picture()).decode()
    rows = [{"index": 100 + n, "image": inside if n == 0 else "100", **row} for n, row in enumerate(QUIZ[name])]
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for name in QUIZ:
        lay_out(root, name)
    return root


def answered(root, name, texts, out, family="qwen2.5-vl", **how):
    """The result of a file of answers."""
    rows = [{"sample_id": str(100 + n), "text": text} for n, text in enumerate(texts)]
    out.mkdir(parents=True, exist_ok=True)
    (out / "answers.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (result,) = vr1bench.run(
        "somebody", benchmark=name, engine="replay", engine_args={"file": str(out / "answers.jsonl")}, family=family,
        data_dir=root, output=out / "results", **how,
    )  # fmt: skip
    return result


# --- what is shipped


def test_the_suite_is_vision_r1s_table_6():
    assert [one.name for one in suite("qa")] == ["qa/gqa", "qa/ai2d", "qa/chartqa", "qa/seed"]
    assert {one.name: one.primary for one in suite("qa")} == {
        "qa/gqa": "accuracy", "qa/ai2d": "accuracy", "qa/chartqa": "relaxed accuracy", "qa/seed": "accuracy",
    }  # fmt: skip


def test_every_file_has_the_checksum_of_vlmevalkit():
    known = {
        "AI2D_TEST": "0f593e0d1c7df9a3d69bf1f947e71975", "AI2D_TEST_NO_MASK": "fd8f463634d4fe9fbd23b876e8eea5be",
        "SEEDBench_IMG": "68017231464752261a2526d6ca3a10c0", "ChartQA_TEST": "c902e0aa9be5582a7aad6dcf52734b42",
        "GQA_TestDev_Balanced": "99b62f22e224d9b2f32dcbe41359d1c9",
    }  # fmt: skip
    tables = [one for one in benchmarks().values() if one.reader == "qa-tsv" and not one.generated]
    files = [file for one in tables for file in one.source.files]
    assert {file.url.rpartition("/")[2]: file.md5 for file in files} == {f"{n}.tsv": md5 for n, md5 in known.items()}
    for one in tables:
        (file,) = one.source.files
        assert file.path == one.splits[one.split].annotations[0]


@pytest.mark.parametrize("name", QUIZ)
def test_a_definition_reads_its_file_at_each_of_its_places(tmp_path, name):
    one = find(name)
    for place in range(len(one.splits[one.split].annotations)):
        data = one.load(one.split, lay_out(tmp_path / str(place), name, place))
        assert [sample.problem for sample in data] == [row["question"] for row in QUIZ[name]]
        assert all(sample.images[0].is_file() for sample in data)


def held():
    return {"bytes": picture(), "path": "x.png"}


ROWS = {
    "qa/gqa/lmms-lab": {"imageId": "n1", "question": "Is it?", "answer": "yes"},
    "qa/ai2d/lmms-lab": {"question": "?", "options": ["cow", "dog"], "answer": "1", "image": held()},
    "qa/chartqa/lmms-lab": {"type": "human_test", "question": "?", "answer": "5%", "image": held()},
}


@pytest.mark.parametrize("name", ROWS)
def test_the_hubs_rows_score(tmp_path, name):
    pa = pytest.importorskip("pyarrow", reason="needs pyarrow, which comes with `datasets`")
    import pyarrow.parquet as pq

    one = find(name)
    for place, where in enumerate(one.splits[one.split].annotations):
        root = tmp_path / str(place)
        shards = {where, *(str(file.path) for file in one.source.files if "images" not in file.path and place == 0)}
        for shard in {*shards, where.replace("-00000-of-00002", "-00001-of-00002")}:
            (root / shard).parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist([ROWS[name]]), root / shard)
        if "pictures" in one.splits[one.split].options:
            pictures = (root / where).parent / str(one.splits[one.split].options["pictures"])
            pictures.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist([{"id": "n1", "image": held()}]), pictures)
        (result,) = vr1bench.run(
            "x", benchmark=name, engine="oracle", family="qwen2.5-vl", data_dir=root, output=root / "out"
        )
        assert (result.primary.value, result.values.primary) == (1.0, one.primary)
    assert failure(prepare([name], tmp_path / "0", check=True)) is None


# --- what is asked


def words(root, name, family="qwen2.5-vl", **how):
    return [row["text"] for row in vr1bench.questions(name, family=family, data_dir=root, **how)]


def test_the_words_are_vlmevalkits(data):
    assert words(data, "qa/ai2d")[0] == (
        "Question: What eats grass?\nOptions:\nA. cow\nB. dog\nC. two, or three\nD. None\n"
        "Please select the correct answer from the options above. \n"
    )
    assert words(data, "qa/gqa") == [
        "Is it {options} or {width}?\nAnswer the question using a single word or phrase.",
        "What is left?\nAnswer the question using a single word or phrase.",
    ]


def test_all_families_are_asked_alike(data):
    for name in ("qa/ai2d", "qa/chartqa"):
        assert len({tuple(words(data, name, family)) for family in FAMILIES}) == 1


def test_every_protocol_asks_questions_alike(data):
    for name in ("qa/ai2d", "qa/chartqa"):
        assert len({tuple(words(data, name, protocol=protocol)) for protocol in protocols()}) == 1


def test_questions_are_printed(data):
    done = started("questions", "--family", "molmo", "--benchmark", "qa/seed", "--data-dir", data)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["sample_id"], row["query"], row["max_tokens"]) for row in rows] == [
        ("100", "", 2048),
        ("101", "", 2048),
    ]
    assert rows[0]["text"].startswith("Question: How many?\nOptions:\nA. cow\n")


def test_words_for_questions_change_no_other_number():
    """Results of boxes keep their fingerprint whatever is said about questions, and the other way round."""
    assert Questions(all="x").model_dump() == {"all": "x", "one": "", "refer": ""}
    rule = protocols()["standard"]
    mine = {task: rule.asking(task).questions.model_dump(mode="json") for task in KINDS}
    assert mine["detect"] == mine["refer"] == Questions().model_dump(mode="json")
    assert set(mine["qa"]) > {"choose", "answer"}
    other = rule.model_copy(update={"questions": rule.questions.model_copy(update={"choose": "!", "all": "?"})})
    assert fingerprint(other.asking("refer")) != fingerprint(rule.asking("refer"))
    silent = rule.model_copy(update={"questions": Questions()})
    assert fingerprint(silent.asking("detect")) == fingerprint(rule.asking("detect"))


# --- what comes of it


@pytest.mark.parametrize("family", ["qwen2.5-vl", "molmo", "florence-2"])  # boxes, points, task tokens
def test_the_oracle_is_right_through_the_command(data, tmp_path, family):
    words = ["run", "--model", "nobody", "--suite", "qa", "--engine", "oracle", "--family", family]
    done = typed(*words, "--data-dir", data, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[2:]]
    assert [row[0] for row in rows] == ["qa/gqa", "qa/ai2d", "qa/chartqa", "qa/seed"]
    assert [row[2:4] for row in rows[:2]] == [["accuracy", "100.0"]] * 2
    assert rows[2][2:5] == ["relaxed", "accuracy", "100.0"]
    assert all("ok" in row and "standard" in row and "constant" in row for row in rows)
    assert (tmp_path / "LEADERBOARD.md").read_text().count("| 100.0 ") == 4


def test_answers_are_counted_by_what_they_are(data, tmp_path):
    result = answered(data, "qa/ai2d", ["The answer is (A).", "a fish"], tmp_path)
    assert result.values.metrics.keys() == {"accuracy"}
    assert (result.primary.value, result.values.counts) == (0.5, {"malformed": 1, "ok": 1})
    assert (result.values.broken, result.values.boxes) == ({"no option in the answer": 1}, 1)
    assert "note: qa/ai2d: of 2 items in answers: 1 no option in the answer (50.0%)" in notes([result])
    assert result.values.audit == ()
    assert result.values.audited == {}
    assert result.key.scores == "constant"


def test_kinds_of_questions_have_numbers_of_their_own(data, tmp_path):
    result = answered(data, "qa/chartqa", ["104", "5", "2018."], tmp_path)
    assert {name: metric.value for name, metric in result.values.metrics.items()} == {
        "accuracy": 0.0, "relaxed accuracy": pytest.approx(2 / 3), "relaxed accuracy human": 1.0,
        "relaxed accuracy augmented": 0.5,
    }  # fmt: skip
    assert result.values.per_class == {"augmented": 0.5, "human": 1.0}
    result = answered(data, "qa/seed", ["C", "C"], tmp_path / "seed")
    assert result.values.per_class == {"Instances Counting": 1.0, "Scene Understanding": 0.0}
    assert list(result.values.metrics) == ["accuracy"]


def test_a_full_stop_is_wrong_and_counted(data, tmp_path):
    result = answered(data, "qa/gqa", ["Yes.", "DOG"], tmp_path)
    assert (result.primary.value, result.values.flags) == (0.5, {"wrong but for a full stop": 1})
    assert "note: qa/gqa: of 2 items in answers: 1 wrong but for a full stop (50.0%)" in notes([result])


def test_thinking_goes_and_a_cut_answer_counts_as_far_as_it_goes(data, tmp_path):
    texts = ["<think>no, or yes</think><answer>yes</answer>", "<think>dog"]
    result = answered(data, "qa/gqa", texts, tmp_path)
    assert (result.primary.value, result.values.counts) == (0.5, {"ok": 1, "truncated": 1})


@pytest.mark.parametrize("family", ["molmo", "florence-2", "kosmos-2"])
def test_no_grammar_judges_an_answer(data, tmp_path, family):
    one = answered(data, "qa/gqa", ["yes", "[[1, 2, 3, 4]]"], tmp_path, family=family)
    two = answered(data, "qa/gqa", ["yes", "[[1, 2, 3, 4]]"], tmp_path / "other")
    assert one.values.model_dump(exclude={"fingerprint"}) == two.values.model_dump(exclude={"fingerprint"})
    assert one.values.primary == "accuracy"


def test_a_run_is_scored_again_and_stands_on_the_board(data, tmp_path):
    result = answered(data, "qa/chartqa", ["100", "5%", "2016"], tmp_path)
    (folder,) = (tmp_path / "results").glob("runs/*/qa/chartqa/*")
    for options in ([], ["--protocol", "standard"]):
        done = typed("score", folder, "--json", *options)
        assert done.returncode == 0, done.stderr
        (again,) = json.loads(done.stdout)
        assert again["values"] == json.loads(result.values.model_dump_json())
    assert started("score", folder, "--protocol", "qwen2.5").returncode == 3
    board = typed("board", tmp_path / "results").stdout
    assert "qa/chartqa test, relaxed accuracy, standard, constant" in board
    assert "| 100.0" in board


def test_a_run_of_boxes_is_still_scored_under_standard(coco_folder):
    """Its stored protocol has no words for questions, that of today has."""
    out = coco_folder / "out"
    vr1bench.run("x", benchmark=str(coco_folder / "small.toml"), engine="oracle", family="absolute",
                 data_dir=coco_folder, output=out)  # fmt: skip
    (folder,) = out.glob("runs/*/small/*")
    assert "choose" not in (folder / "run.json").read_text()
    result, _ = vr1bench.rescore(folder, "standard")
    assert result.primary.value == 1.0


def test_show_and_list_know_questions():
    told = describe("qa/chartqa")
    assert "relaxed accuracy" in told
    assert "Answer the question using a single word or phrase." in told
    assert "qwen2.5" in told
    assert "qa/ai2d" in describe("qa")


def test_the_data_counts(data, tmp_path):
    file = data / "qa/GQA_TestDev_Balanced.tsv"
    result = answered(data, "qa/gqa", ["yes", "dog"], tmp_path)
    assert result.values.data_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert result.values.warnings == {"samples where 12578 were published": 2}
    assert protocol("standard", {}, "qa/gqa").questions.answer
