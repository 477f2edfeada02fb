"""Every ODinW definition against GLIP's own registry of the 13 and the 35."""

import json

import pytest

from vr1bench.benchmark import benchmarks, suite

OUR_NAMES = {
    "AerialMaritimeDrone_tiled": "AerialMaritimeDrone-tiled",
    "EgoHands_specific": "EgoHands-specific",
    "OxfordPets_by-breed": "OxfordPets-by-breed",
    "OxfordPets_by-species": "OxfordPets-by-species",
}


@pytest.fixture
def registry(shared_data):
    return json.loads((shared_data / "odinw_registry.json").read_text())


def name_of(key: str, row: dict) -> str:
    return "odinw/" + OUR_NAMES.get(key, row["splits"]["val"]["ann_file"].split("/")[1])


@pytest.mark.parametrize("part", ["odinw_13", "odinw_35"])
def test_paths_and_counts_are_those_of_the_registry(registry, part):
    for key, row in registry[part].items():
        if key == "plantdoc_100x100":  # configured by GLIP, and in neither list
            continue
        benchmark = benchmarks()[name_of(key, row)]
        same_as_val = {"test"} if key == "PascalVOC" else set()  # its "test" is its valid/ folder
        assert set(benchmark.splits) == set(row["splits"]) - same_as_val
        for split, files in row["splits"].items():
            if split in same_as_val:
                assert files["ann_file"] == row["splits"]["val"]["ann_file"]
                continue
            first, nested = benchmark.splits[split].annotations
            assert first == files["ann_file"]
            top = first.split("/")[1]
            assert nested == f"odinw/{top}/{first.removeprefix('odinw/')}"
            assert first.rsplit("/", 1)[0] == files["img_dir"].rstrip("/")
        counts = row.get("n_images_train_val_test") or (0, 0, 0)
        for split, count in zip(("train", "val", "test"), counts, strict=True):
            if split in benchmark.splits:
                assert benchmark.splits[split].samples == (count or 0), (key, split)


def test_the_suites_are_the_13_and_the_35(registry):
    thirteen = {name_of(key, row) for key, row in registry["odinw_13"].items()}
    all_of_them = {name_of(key, row) for key, row in registry["odinw_35"].items() if key != "plantdoc_100x100"}
    assert {one.name for one in suite("odinw")} == {one.name for one in suite("odinw13")} == thirteen
    assert {one.name for one in suite("odinw35")} == all_of_them
    assert (len(suite("odinw")), len(suite("odinw35"))) == (13, 35)
    assert sum(one.splits["val"].samples for one in suite("odinw")) == 4938


def test_the_out_of_domain_sets_are_those_of_vision_r1():
    assert [one.name.removeprefix("odinw/") for one in suite("odinw-ood")] == [
        "boggleBoards", "MountainDewCommercial", "ThermalCheetah", "vector",
    ]  # fmt: skip
