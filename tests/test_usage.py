"""What the answers took, in a Result: tokens, and how much of them an engine had before."""

import json
from pathlib import Path

import pytest
from command_line import typed

import vr1bench
from vr1bench.store import Usage


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, vr1bench.Result]:
    pytest.importorskip("transformers", reason="needs the extra hf")
    output = tmp_path_factory.mktemp("usage")
    (result,) = vr1bench.run("demo", benchmark="demo/coco", engine="hf", limit=3, output=output)
    return output, result


def records(output: Path) -> list[dict]:
    (path,) = output.rglob("records.jsonl")
    return [json.loads(line)["completion"] for line in path.read_text().splitlines()]


def test_tokens_are_those_that_were_planned_and_those_of_the_records(asked):
    output, result = asked
    (planned,) = vr1bench.estimate("demo", benchmark="demo/coco", engine="hf", limit=3, probe=0).costs
    usage = result.run.usage
    assert usage.requests == 3
    assert usage.prompt_tokens == planned.image_tokens + planned.text_tokens
    assert usage.output_tokens == sum(one["n_tokens"] for one in records(output)) > 0
    assert (usage.cached_tokens, usage.reused_images) == (0, 0)


def test_they_are_printed_and_stay_when_records_are_scored_again(asked):
    output, result = asked
    (path,) = output.rglob("records.jsonl")
    done = typed("score", path.parent, "--limit", 3, "--json")
    assert json.loads(done.stdout)[0]["run"]["usage"] == result.run.usage.model_dump()
    assert f"note: demo/coco: 3 requests, {result.run.usage.prompt_tokens} prompt tokens, " in done.stderr


def test_a_longer_run_counts_what_the_shorter_one_asked(asked, tmp_path):
    (longer,) = vr1bench.run("demo", benchmark="demo/coco", engine="oracle", limit=3, output=tmp_path)
    assert longer.run.usage == Usage(requests=3)  # the oracle counts no tokens, and prints none
    done = typed("run", "--model", "demo", "--benchmark", "demo/coco", "--engine", "oracle", "--output", tmp_path)
    assert "prompt tokens" not in done.stderr
    ((_, result),) = ((p, r) for p, r in vr1bench.read_results(tmp_path) if "[" not in r.key.split)
    assert result.run.usage == Usage(requests=100)


def test_in_words():
    usage = Usage(requests=8, prompt_tokens=1000, cached_tokens=250, output_tokens=40, reused_images=6)
    assert usage.said == (
        "8 requests, 1,000 prompt tokens (25.0 % cached), 40 output tokens, 75.0 % of pictures reused"
    )
