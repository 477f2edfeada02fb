"""What the package promises to those who import it."""

import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import vr1bench
from vr1bench.benchmark import suite
from vr1bench.protocol import protocols

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "vllm", "transformers", "pandas", "scipy", "pycocotools")


def loaded_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_public_names():
    for name in vr1bench.__all__:
        assert getattr(vr1bench, name).__doc__, name
    assert set(vr1bench.__all__) <= set(dir(vr1bench))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        vr1bench.nothing  # noqa: B018


@pytest.mark.parametrize("code", ["import vr1bench", "import vr1bench.cli"])
def test_importing_is_light(code):
    assert not loaded_after(code) & {*HEAVY, "numpy", "pydantic"}


def test_parsing_needs_no_framework():
    code = "import vr1bench; vr1bench.parse('[]', family='qwen2.5-vl', size=(64, 64))"
    assert not loaded_after(code) & set(HEAVY)


def test_every_shipped_definition_loads():
    from vr1bench.benchmark import benchmarks, suite, suites
    from vr1bench.protocol import protocols

    for name, members in suites().items():
        assert set(members) - {name} <= {*benchmarks(), *suites()}
        assert {one.name for one in suite(name)} <= set(benchmarks())
    for benchmark in benchmarks().values():
        assert benchmark.split in benchmark.splits
    for protocol in protocols().values():
        assert protocol.about


def test_the_wheel_holds_what_runs(tmp_path):
    done = subprocess.run(["uv", "build", "--wheel", "-o", str(tmp_path), str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"vr1bench"}
    for needed in (
        "vr1bench/_benchmarks/suites.toml",
        "vr1bench/_benchmarks/published.csv",
        "vr1bench/_benchmarks/odinw/ChessPieces.toml",
        "vr1bench/_benchmarks/study/plain.toml",
        "vr1bench/trainers/pretrain_demo.py",
        "vr1bench/trainers/recipes/demo-grpo.toml",
        "vr1bench/trainers/recipes/vlm-r1/rec-3b.toml",
        "vr1bench/trainers/recipes/study/short/rate-grpo-4e-5.toml",
        "vr1bench/trainers/study/__main__.py",
        "vr1bench/trainers/accelerate/zero3.yaml",
        "vr1bench/demo/model/config.json",
        "vr1bench/demo/model/model.safetensors",
        "vr1bench/demo/model/README.md",
        "vr1bench/families/data/qwen2.5-vl.toml",
        "vr1bench/py.typed",
    ):
        assert needed in names, needed


def examples():
    """Every command of the README and of the pages below docs/, as words."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    lines = [line.strip() for page in pages for line in page.read_text().replace("\\\n", " ").splitlines()]
    found = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("vr1bench ")]
    return [words[: words.index("<")] if "<" in words else words[: words.index(">")] if ">" in words else words
            for words in found]  # fmt: skip


@pytest.mark.parametrize("words", examples(), ids=" ".join)
def test_the_examples_are_understood(words):
    from typer.main import get_command

    from vr1bench.arguments import normalised
    from vr1bench.cli import app

    group = get_command(app)
    name, command, rest = group.resolve_command(group.make_context("vr1bench", [words[0]]), normalised(words))
    assert command.make_context(name, rest).params


def test_every_protocol_asks_the_whole_demo_suite(tmp_path):
    for protocol in protocols():
        results = vr1bench.run("demo", suite="demo", engine="oracle", protocol=protocol, output=tmp_path, limit=3)
        assert len(results) == len(suite("demo"))
