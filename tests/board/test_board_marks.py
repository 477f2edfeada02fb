"""Best and second best are marked where the replicates say so, and nowhere else."""

import numpy as np
import pytest
from board.made import of_suite, pipes, report, result, table

from vr1bench.board import leaderboard, markdown
from vr1bench.metrics.bootstrap import packed
from vr1bench.paired import difference, mean_difference


def marks(results, papers=()):
    board = leaderboard(results, papers)
    return {row.title.partition("@")[0]: [cell.mark if cell else None for cell in row.cells] for row in board.rows}


def at(name, tie, **fields):
    return result(name, tie=tie, **{"value": tie, "n": 5000} | fields)


def test_the_best_and_the_second_best_are_marked_where_they_are_sure():
    # Three points apart, with a standard deviation of 1.4 points between two models.
    results = [at("a", 0.60), at("b", 0.50), at("c", 0.40), at("d", 0.30)]
    assert marks(results) == {"a": ["best"], "b": ["second"], "c": [""], "d": [""]}
    cells = [[*row.values()][1] for row in table(markdown(leaderboard(results)))]
    assert cells == ["**60.0 ±6.0 (60.0)**", "<u>50.0 ±6.0 (50.0)</u>", "40.0 ±6.0 (40.0)", "30.0 ±6.0 (30.0)"]


def test_what_all_models_share_is_no_doubt():
    """Each model's own interval is 40 points wide; the difference of two is sure all the same."""
    assert marks([at("a", 0.6, noise=0.01), at("b", 0.5, noise=0.01)]) == {"a": ["best"], "b": [""]}
    assert marks([at("a", 0.6, noise=0.2), at("b", 0.5, noise=0.2)]) == {"a": [""], "b": [""]}


def test_nobody_is_best_by_chance():
    close = [at("a", 0.505), at("b", 0.50), at("c", 0.30)]
    assert difference(close[1], close[0], "AP_tie").p > 0.05
    assert difference(close[2], close[0], "AP_tie").p < 1e-9
    # Without a best one there is no second best either.
    assert marks(close) == {"a": [""], "b": [""], "c": [""]}
    assert marks([at("a", 0.60), at("b", 0.50), at("c", 0.495)]) == {"a": ["best"], "b": [""], "c": [""]}
    assert marks([at("a", 0.5), at("b", 0.5)]) == {"a": [""], "b": [""]}
    assert marks([at("a", 0.5)]) == {"a": [""]}


def test_the_best_is_better_than_all_others_and_not_only_than_the_next():
    noisy = at("c", 0.45, noise=0.2)
    assert marks([at("a", 0.60), at("b", 0.50), noisy]) == {"a": [""], "b": [""], "c": [""]}


def test_p_values_are_adjusted_for_all_comparisons_of_the_column():
    """A difference that is sure on its own is not, as one of many."""
    first, second = at("a", 0.534), at("b", 0.50)
    p = difference(second, first, "AP_tie").p
    assert 0.05 / 4 < p < 0.05
    assert marks([first, second])["a"] == ["best"]
    crowd = [at(f"z{place}", 0.1 + 0.001 * place) for place in range(3)]
    # Each of the crowd is beaten for sure, so that Holm leaves the last step to the one close comparison ...
    assert marks([first, second, *crowd])["a"] == ["best"]
    # ... but several close ones share the chance of a false alarm.
    near = [at(f"y{place}", 0.499 - 0.001 * place) for place in range(3)]
    assert all(difference(one, first, "AP_tie").p < 0.05 for one in near)
    assert marks([first, second, *near])["a"] == [""]


def test_marks_go_by_the_metric_that_no_order_of_images_moves():
    results = [at("a", 0.40, value=0.9), at("b", 0.60, value=0.5)]
    assert marks(results) == {"a": [""], "b": ["best"]}


@pytest.mark.parametrize("changes", [{"data": "other"}, {"n": 5}])
def test_a_column_of_other_data_has_no_marks_and_says_so(changes):
    results = [at("a", 0.6), at("b", 0.3, **changes), at("a", 0.6, benchmark="c"), at("b", 0.3, benchmark="c")]
    text = markdown(leaderboard(results))
    (head, *_), *_ = pipes(text).values()
    assert [title.endswith("<sup>1</sup>") for title in head[1:3]] == [True, False]
    assert text.count("\n<sup>1</sup> rows stand on other data or another number of samples") == 1
    assert marks(results) == {"a": ["", "best"], "b": ["", ""]}


def test_results_without_replicates_have_no_marks_and_say_so():
    results = [at("a", 0.6), at("b", 0.3, noise=None)]
    assert marks(results) == {"a": [""], "b": [""]}
    assert "<sup>1</sup> none is marked: a result without replicates" in markdown(leaderboard(results))
    assert "<sup>" not in markdown(leaderboard(results[1:]))


def test_an_undefined_number_takes_no_part():
    assert marks([at("a", 0.6), at("b", 0.3), at("c", None)]) == {"a": ["best"], "b": [""], "c": [""]}


def test_means_are_marked_by_the_difference_of_means():
    better, worse = of_suite("refcoco-val", "a", 0.32, noise=0.02), of_suite("refcoco-val", "b", 0.3, noise=0.02)
    pairs = {old.key.benchmark: (old, new) for old, new in zip(worse, better, strict=True)}
    p = mean_difference(pairs, dict.fromkeys(pairs, "Acc@0.5")).p
    assert (marks(better + worse)["a"][0] == "best") == (p < 0.05)
    # Two points are too few for one benchmark, and enough for the mean of many alike.
    better, worse = of_suite("odinw", "a", 0.33, noise=0.02), of_suite("odinw", "b", 0.3, noise=0.02)
    assert marks(better + worse) == {"a": ["best"], "b": [""]}
    assert difference(worse[0], better[0], "AP_tie").p > 0.05


def test_papers_rows_are_never_marked():
    found = marks([at("a", 0.6), at("b", 0.3)], [report(value="99")])
    assert found.pop("Paper-7B (reported: Someone, Table 9)") == [""]
    assert found == {"a": ["best"], "b": [""]}
    (best, *_, paper) = table(markdown(leaderboard([at("a", 0.6), at("b", 0.3)], [report(value="99")])))
    assert [*best.values()][1].startswith("**")
    assert [*paper.values()][1] == "99"


def test_a_damaged_replicate_is_no_mark():
    broken = at("b", 0.3)
    values = broken.values.model_copy(update={"replicates": {"AP_tie": packed(np.zeros(1000))[:-5]}})
    assert marks([at("a", 0.6), broken.model_copy(update={"values": values})]) == {"a": [""], "b": [""]}
