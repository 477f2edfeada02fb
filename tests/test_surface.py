"""What the package promises to those who import it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import vr1bench

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
        "vr1bench/trainers/pretrain_demo.py",
        "vr1bench/demo/model/config.json",
        "vr1bench/demo/model/model.safetensors",
        "vr1bench/demo/model/README.md",
        "vr1bench/families/data/qwen2.5-vl.toml",
        "vr1bench/py.typed",
    ):
        assert needed in names, needed
