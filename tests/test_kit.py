"""What notebooks keep and show: tables, steps, figures, intervals, verdicts, claims."""

from __future__ import annotations

import json
import math
from base64 import b64decode
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from amortgap._files import write_text
from amortgap.kit import (
    Record,
    Refused,
    band,
    beside,
    chance_winner,
    distance,
    dots,
    heat_map,
    interval,
    one_more,
    published,
    same_winner,
    slope,
    style,
    summarise,
)
from amortgap.kit.claims import Claim, merge
from amortgap.kit.draw import legend
from amortgap.kit.intervals import prediction
from amortgap.kit.pictures import unpacked
from amortgap.kit.setting import Setting
from amortgap.kit.svg import to_svg
from amortgap.kit.tables import read_rows, read_table, write_table
from amortgap.kit.verdict import VERDICTS, difference, judge
from demo_project import make_project

CLAIM = {"says": "s", "where": "Table 1", "paper": 0.5, "ours": 0.6, "low": 0.5, "high": 0.7, "n": 3}
CLAIM |= {"alternative": "chance", "against": 0.1, "verdict": "reproduced", "direction": ""}


def claim(**changes: object) -> Claim:
    return Claim(**({"id": "E2.1", "figure": "f", "data": "d"} | CLAIM | changes))


# --- tables -----------------------------------------------------------------------------------------------


cells = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_infinity=False, allow_subnormal=False),
    st.text(),
)


@settings(deadline=None)  # its first example imports pandas
@given(st.lists(cells, min_size=1, max_size=5))
def test_a_table_comes_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, column: list) -> None:
    file = tmp_path_factory.getbasetemp() / "table.json"
    write_table(file, [{"x": cell} for cell in column])
    for cell, row in zip(column, read_rows(file), strict=True):
        if isinstance(cell, float):  # half a unit in the ninth digit
            assert row["x"] is None if math.isnan(cell) else math.isclose(row["x"], cell, rel_tol=5.01e-9)
        else:
            assert row["x"] == cell
    assert len(read_table(file)) == len(column)


def test_numpy_scalars_and_named_indices_are_kept(tmp_path: Path) -> None:
    frame = pd.DataFrame({"m": ["a", "b"], "v": np.array([0.1, np.nan])}).set_index("m")
    write_table(tmp_path / "t.json", frame)
    assert read_rows(tmp_path / "t.json") == [{"m": "a", "v": 0.1}, {"m": "b", "v": None}]


def test_pandas_reads_a_table_alone_and_a_missing_cell_is_null(tmp_path: Path) -> None:
    write_table(tmp_path / "t.json", [{"m": "a, b"}, {"m": 'c"d', "v": 0.5}])
    ours = read_table(tmp_path / "t.json")
    pd.testing.assert_frame_equal(pd.read_json(tmp_path / "t.json", orient="split"), ours)
    assert read_rows(tmp_path / "t.json")[0] == {"m": "a, b", "v": None}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no rows"),
        ([{"x": np.ones(2)}], "a ndarray"),
        ([{"x": [1]}], "a list"),
        ([{"x": math.inf}], "infinite"),
        ([{1: 2}], "not a text"),
    ],
)
def test_untidy_tables_are_refused(tmp_path: Path, rows: list, message: str) -> None:
    with pytest.raises(Refused, match=message):
        write_table(tmp_path / "t.json", rows)
    assert not list(tmp_path.iterdir())


# --- claims -----------------------------------------------------------------------------------------------


@given(st.text(max_size=6))
def test_claim_ids_have_one_form(identifier: str) -> None:
    head, dot, tail = identifier.partition(".")
    good = (
        dot == "."
        and head[:1] in set("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        and head[:1] != ""
        and set(head[1:]) <= set("0123456789")
        and tail != ""
        and set(tail) <= set("0123456789")
    )
    if good:
        assert claim(id=identifier).id == identifier
    else:
        with pytest.raises(Refused, match="claim id"):
            claim(id=identifier)


@given(*(st.floats() for _ in range(3)))
def test_claims_need_finite_numbers_in_order(ours: float, low: float, high: float) -> None:
    if all(map(math.isfinite, (ours, low, high))) and low <= ours <= high:
        assert claim(ours=ours, low=low, high=high).ours == ours
    else:
        with pytest.raises(Refused, match=r"E2\.1"):
            claim(ours=ours, low=low, high=high)


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "true"},
        {"says": " "},
        {"paper": math.inf},
        {"ours": True},
        {"ours": None},
        {"against": math.nan},
    ],
)
def test_bad_claims_are_refused(change: dict) -> None:
    with pytest.raises(Refused, match=r"claim E2\.1"):
        claim(**change)


def test_claims_take_numpy_scalars_and_store_plain_floats() -> None:
    assert type(claim(ours=np.float32(0.5)).ours) is float
    assert type(claim(ours=1, high=2).ours) is float


def test_claims_of_all_pages_are_merged_in_order(tmp_path: Path) -> None:
    for page, identifiers in {"a": ["C.1", "E10.1", "T.1"], "b": ["E2.1"]}.items():
        write_text(tmp_path / page / "claims.json", json.dumps([asdict(claim(id=i)) for i in identifiers]))
    (tmp_path / "c").mkdir()
    merged = merge([tmp_path / "a", tmp_path / "b", tmp_path / "c"])
    assert [(one["id"], one["page"]) for one in merged] == [
        ("E2.1", "b"),
        ("E10.1", "a"),
        ("T.1", "a"),
        ("C.1", "a"),
    ]
    write_text(tmp_path / "c" / "claims.json", json.dumps([asdict(claim(id="T.1"))]))
    with pytest.raises(Refused, match=r"claim T\.1 is made twice: by a and by c"):
        merge([tmp_path / "a", tmp_path / "c"])


# --- the record -------------------------------------------------------------------------------------------


@pytest.fixture
def rec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """A record with the table `t`; what it shows is kept in `rec.shown`."""
    import matplotlib as mpl

    mpl.use("agg")
    shown: list[str] = []
    monkeypatch.setattr(
        "IPython.display.display",
        lambda one, **how: shown.append(one.get("text/html") or (one, how)),
    )
    with mpl.rc_context():
        record = Record(tmp_path / "out")
        record.table("t", [{"x": 1, "y": 2.5}])
        record.shown = shown  # type: ignore[attr-defined]
        yield record


def figure():
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots()
    ax.plot([0, 1], [0, 1], color="k", marker="o")
    ax.set_xlabel(r"$\lambda$")
    return fig


def test_a_record_opened_from_the_root_lies_where_the_notebook_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rec: Record
) -> None:
    project = make_project(tmp_path / "p", "")
    monkeypatch.chdir(project.root)
    folder = project.reports / "interactive" / "data" / "a"
    assert Record("../reports/interactive/data/a").out.resolve() == folder
    assert folder.is_dir()


def test_a_figure_is_shown_with_caption_description_and_data(rec: Record) -> None:
    import matplotlib.pyplot as plt

    rec.figure(figure(), "f", title="It <rises>.", alt='A "line".', data="t")
    (bundle, how), caption = rec.shown  # type: ignore[attr-defined]
    # every viewer shows a PNG, trusted or not
    assert b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert how["raw"] is True
    page = how["metadata"]["amortgap"]
    for drawing in unpacked(page):
        assert 'aria-label="A &quot;line&quot;."' in drawing
    assert "It &lt;rises&gt;." in caption
    assert "out/t.json" in caption
    assert page["caption"] in caption
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    "change", [{"alt": " "}, {"title": ""}, {"data": "u"}, {"name": "F 1"}, {"alt": None}]
)
def test_incomplete_figures_are_refused(rec: Record, change: dict) -> None:
    import matplotlib.pyplot as plt

    with pytest.raises(Refused):
        rec.figure(figure(), **({"name": "f", "title": "t", "alt": "a", "data": "t"} | change))
    plt.close("all")


@pytest.mark.parametrize("name", ["claims", "run", "facts", "../t", "T", "", "a.b"])
def test_bad_table_names_are_refused(rec: Record, name: str) -> None:
    with pytest.raises(Refused):
        rec.table(name, [{"x": 1}])


CALL = {"says": "s", "values": [0.5, 0.6, 0.7], "figure": "f", "data": "t"}


def test_claims_are_stored_and_can_be_made_again(rec: Record) -> None:
    with pytest.raises(Refused, match="figure 'f' was not shown"):
        rec.claim("E1.1", **CALL)
    rec.figure(figure(), "f", title="t", alt="a", data="t")
    rec.claim("E1.1", **CALL)
    rec.claim("E1.1", **CALL | {"values": [0.6, 0.65, 0.7]})
    (stored,) = json.loads((rec.out / "claims.json").read_text())
    assert stored["ours"] == pytest.approx(0.65)
    assert (stored["verdict"], stored["n"], stored["paper"]) == ("beyond", 3, None)
    with pytest.raises(Refused, match="no table 'u'"):
        rec.claim("E1.2", **CALL | {"data": "u"})
    Record(rec.out)
    assert not (rec.out / "claims.json").exists()


def test_a_claim_stores_what_its_verdict_was_made_of(rec: Record) -> None:
    rec.figure(figure(), "f", title="t", alt="a", data="t")
    row = {"value": 0.9, "where": "Table 1", "sd": 0.1}
    rec.claim("E1.1", **CALL, published=row, against={"chance": 0.2}, cause="A bug.", note="More.")
    (stored,) = json.loads((rec.out / "claims.json").read_text())
    # three values between .5 and .7 leave room for both
    assert (stored["verdict"], stored["direction"], stored["note"]) == ("inconclusive", "", "More.")
    rec.claim(
        "E1.1", **CALL, published=row | {"value": 5}, against={"chance": 0.1}, cause="A bug.", note="More."
    )
    (stored,) = json.loads((rec.out / "claims.json").read_text())
    assert stored["verdict"] == "corrected"
    assert stored["direction"] == "lower"
    assert (stored["alternative"], stored["against"], stored["where"]) == ("chance", 0.1, "Table 1")
    assert stored["note"] == "A bug. More."
    shown = rec.shown[-1]  # type: ignore[attr-defined]
    assert "✎ corrected" in shown
    assert "Table 1" in shown


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"published": 0.6, "against": {"chance": 0.1}}, "where in the paper"),
        ({"published": (0.6, ""), "against": {"chance": 0.1}}, "where in the paper"),
        ({"published": (0.6, "Table 1")}, "needs `against`"),
        ({"published": ("higher", "Table 1"), "against": {"chance": 0}}, "'above' or 'below'"),
        ({"cause": "c", "incomparable": "i"}, "keep one"),
        ({"values": [0.5]}, "two independent values"),
        ({"values": [0.5, math.nan]}, "finite values"),
        ({"scale": "logit"}, "plain, score, log"),
    ],
)
def test_claims_that_cannot_be_judged_are_refused(rec: Record, change: dict, message: str) -> None:
    rec.figure(figure(), "f", title="t", alt="a", data="t")
    with pytest.raises(Refused, match=rf"claim E1\.1.*{message}"):
        rec.claim("E1.1", **CALL | change)


def test_a_figure_alone_is_carried_by_the_table_of_its_name(rec: Record) -> None:
    rec.figure(figure(), "t", "title", "alt")
    rec.claim("E1.1", "s", [0.5, 0.6], figure="t", published=(0.5, "Table 2"), against={"chance": 0.1})
    (stored,) = json.loads((rec.out / "claims.json").read_text())
    assert (stored["data"], stored["paper"], stored["where"]) == ("t", 0.5, "Table 2")


def test_provenance_facts_are_stored(rec: Record) -> None:
    rec.provenance(device="cpu")
    rec.provenance(model="m")
    assert json.loads((rec.out / "facts.json").read_text()) == {"device": "cpu", "model": "m"}
    with pytest.raises(Refused, match="device"):
        rec.provenance(device=[1])  # type: ignore[arg-type]


def test_an_svg_is_the_same_each_time_and_follows_the_page(rec: Record) -> None:
    import matplotlib.pyplot as plt

    one, two = figure(), figure()
    first, second = to_svg(one, "f", "a"), to_svg(two, "f", "a")
    other = to_svg(one, "g", "a")
    plt.close("all")
    assert first == second
    assert "currentColor" in first
    assert "#000000" not in first
    assert "#010203" not in first
    assert "http" not in first
    assert "<style" not in first

    def identifiers(svg: str) -> set[str]:
        return {part.split('"')[0] for part in svg.split(' id="')[1:]}

    assert identifiers(first)
    assert not identifiers(first) & identifiers(other)


# --- steps ------------------------------------------------------------------------------------------------


def test_a_step_is_computed_once_and_drawn_again_from_its_tables(
    rec: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def cell(item: tuple[int, int]) -> tuple[list[dict], list[dict]]:
        calls.append(item)
        return [{"a": item[0]}], [{"b": item[1]}, {"b": 1 / 3}]

    first = rec.step(("left", "right"), cell, over=[(1, 2), (3, 4)])
    assert list(first[0].a) == [1, 3]
    assert list(first[1].b) == [2, 0.333333333, 4, 0.333333333]
    rec.provenance(seconds_of_training=3)
    monkeypatch.setenv("AMORTGAP_REDRAW", "1")
    again = Record(rec.out)
    for before, after in zip(first, again.step(("left", "right"), cell, over=[(1, 2), (3, 4)]), strict=True):
        pd.testing.assert_frame_equal(before, after)
    assert calls == [(1, 2), (3, 4)]
    assert json.loads((rec.out / "facts.json").read_text()) == {"seconds_of_training": 3}
    with pytest.raises(Refused, match=r"middle\.json of the earlier run is missing"):
        again.step("middle", cell)


def test_a_step_goes_on_after_the_last_call_that_ended(rec: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMORTGAP_RUN", "key")
    calls = []

    def cell(item: int) -> list[dict]:
        calls.append(item)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return [{"a": item}]

    with pytest.raises(KeyboardInterrupt):
        Record(rec.out).step("s", cell, over=range(4))
    assert list(Record(rec.out).step("s", cell, over=range(4)).a) == [0, 1, 2, 3]
    assert calls == [0, 1, 2, 2, 3]


def test_one_call_of_a_step_may_find_nothing_for_a_table(
    rec: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMORTGAP_RUN", "key")
    for _ in range(2):  # computed, then read back from its parts
        left, right = Record(rec.out).step(
            ("left", "right"), lambda i: ([{"a": i}], [{"b": i}] * i), over=range(2)
        )
        assert (list(left.a), list(right.b)) == ([0, 1], [1])


def test_claims_that_need_the_papers_setting_are_missed_aloud(rec: Record) -> None:
    before = len(rec.shown)  # type: ignore[attr-defined]
    assert rec.as_in_paper(steps=(20000, 20000), alpha=(0.1, 0.1))
    assert len(rec.shown) == before  # type: ignore[attr-defined]
    assert not rec.as_in_paper(steps=(200, 20000), alpha=(0.1, 0.1))
    missed = "steps = 200 instead of 20\N{NARROW NO-BREAK SPACE}000"
    said = f"Claims that need the paper\N{RIGHT SINGLE QUOTATION MARK}s setting are not made: {missed}."
    assert rec.shown[-1] == f'<p class="note">{said}</p>'  # type: ignore[attr-defined]


def test_a_notebook_names_what_differs_from_the_full_size_run_and_how_long_a_step_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_project(
        tmp_path,
        "[paper.a]\nseeds = 20\n",
        a=["# A", "P: seeds: int = 2  # seeds", "P: ks: list = [1]  # ks"],
    )
    monkeypatch.chdir(project.root)

    def opened(report: str, **values: object) -> Setting:
        shell = SimpleNamespace(user_ns=values)
        monkeypatch.setattr("IPython.get_ipython", lambda: shell)
        folder = project.reports / report / "data" / "a"
        folder.mkdir(parents=True, exist_ok=True)
        return Setting(folder)

    here = opened("interactive", seeds=2, ks=[1], other=3)
    assert here.note() == "These parameters differ from those of the full-size run: seeds = 2 instead of 20."
    assert opened("paper", seeds=20, ks=[1]).note() == ""
    assert here.estimate("train") == "", "nobody knows before the first run"
    with here.clock("train"):
        pass
    assert here.estimate("train") == "", "a short step needs no warning"
    for report, values, seconds in (("paper", {"seeds": 20}, 7260), ("quick", {"seeds": 3}, 300)):
        times = {"train": {"seconds": seconds, "parameters": values | {"ks": [1]}}}
        (project.reports / report / "data" / "a").mkdir(parents=True, exist_ok=True)
        (project.reports / report / "data" / "a" / "times.json").write_text(json.dumps(times))
    with opened("interactive", seeds=20, ks=[1]).clock("train"):
        pass
    assert capsys.readouterr().err == "train: took 2 h 01 min in an earlier run\n"
    said = opened("interactive", seeds=4, ks=[1]).estimate("train")
    assert said == "took 5 min in an earlier run, with seeds = 3 instead of 4"


def test_a_smaller_run_makes_no_claim_that_it_cannot_decide(
    rec: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    rec.figure(figure(), "f", title="t", alt="a", data="t")
    what = {"published": (0.55, "Table 1"), "against": {"chance": 0.5}, "figure": "f"}
    monkeypatch.setattr(Setting, "smaller", True)
    rec.claim("E1.1", "It is better than chance.", [0.5, 0.6, 0.55], **what)
    said = "Claim E1.1 is not made, because 3 values cannot decide it: It is better than chance."
    assert rec.shown[-1] == f'<p class="note">{said}</p>'  # type: ignore[attr-defined]
    assert not (rec.out / "claims.json").exists()
    rec.claim("E1.1", "It is better than chance.", [0.549, 0.55, 0.551], **what)
    assert json.loads((rec.out / "claims.json").read_text())[0]["verdict"] == "reproduced"
    monkeypatch.setattr(Setting, "smaller", False)
    rec.claim("E1.1", "It is better than chance.", [0.5, 0.6, 0.55], **what)
    assert json.loads((rec.out / "claims.json").read_text())[0]["verdict"] == "inconclusive"


# --- grids ---------------------------------------------------------------------------------------------------


def test_a_grid_as_a_whole_is_compared_as_one_more_dictionary() -> None:
    g = np.random.default_rng(0)
    cells = pd.Series(g.normal(size=300))
    grids = [cells + 0.1 * g.normal(size=300) for _ in range(21)]
    values, theirs = one_more(grids[1:], grids[0], distance)
    # each differs from the mean of 19 others by its own noise and a little of theirs
    assert np.mean(values) == pytest.approx(0.1 * math.sqrt(1 + 1 / 19), rel=0.02)
    assert prediction(values).low < theirs < prediction(values).high
    off = one_more(grids[1:], grids[0] + 0.1, distance)[1]
    assert off > prediction(values).high
    slopes, theirs = one_more(grids[1:], 0.5 * grids[0] + 7, slope)
    assert np.mean(slopes) == pytest.approx(1, abs=0.01)
    assert theirs == pytest.approx(np.polyfit(sum(grids[1:]) / 20, 0.5 * grids[0] + 7, 1)[0])
    with pytest.raises(Refused, match="two dictionaries"):
        one_more(grids[:1], grids[0], slope)
    with pytest.raises(Refused, match="same cells"):
        one_more(grids, cells.iloc[::-1], slope)


def test_winners_of_cells_and_their_chance() -> None:
    g = np.random.default_rng(1)
    a, b = (pd.DataFrame(g.normal([0.5, 0, 0], size=(20_000, 3)), columns=list("abc")) for _ in "ab")
    assert same_winner(a, a) == 1
    # independent grids agree as often as chance says
    assert same_winner(a, b) == pytest.approx(chance_winner(a, b), abs=3 * math.sqrt(0.25 / 20_000))
    only = a.assign(a=9.0)
    assert chance_winner(only, b) == (b.idxmax(axis=1) == "a").mean()


# --- intervals and verdicts -------------------------------------------------------------------------------


def test_intervals_are_those_of_scipy() -> None:
    v = np.array([0.2, 0.5, 0.55, 0.9])
    mean, low, high, n = interval(v)
    assert n == 4
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 3, v.mean(), stats.sem(v)))
    spread = v.std(ddof=1) * math.sqrt(1 + 1 / 4)
    assert prediction(v)[1:3] == pytest.approx(stats.t.interval(0.95, 3, v.mean(), spread))
    assert mean == pytest.approx(v.mean())
    assert interval(np.exp(v), "log")[:3] == pytest.approx(np.exp([mean, low, high]))


def test_a_prediction_interval_holds_19_of_20_new_values() -> None:
    draw = np.random.default_rng(0)
    for scale, back in (("plain", lambda z: z), ("score", np.tanh), ("log", np.exp)):
        z = draw.normal(0.5, 0.4, (4000, 6))
        bounds = [prediction(back(row[:5]), scale) for row in z]
        share = np.mean([b.low <= back(row[5]) <= b.high for b, row in zip(bounds, z, strict=True)])
        # standard error of the share: sqrt(.95 * .05 / 4000) = .0034
        assert abs(share - 0.95) < 0.014, scale


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=6))
def test_intervals_of_scores_stay_within_their_bounds(scores: list[float]) -> None:
    for found in (prediction(scores, "score"), interval(scores, "score")):
        assert -1 <= found.low <= found.mean <= found.high <= 1


NARROW, WIDE = [0.59, 0.60, 0.61], [0.3, 0.6, 0.9]


@pytest.mark.parametrize(
    ("values", "paper", "against", "verdict", "direction"),
    [
        (NARROW, 0.61, 0.2, "reproduced", ""),
        (NARROW, 0.8, 0.2, "not reproduced", "lower"),
        (NARROW, 0.4, 0.6, "not reproduced", "higher"),
        (WIDE, 0.61, 0.5, "inconclusive", ""),
        (NARROW, "above", 0.2, "reproduced", ""),
        (NARROW, "below", 0.2, "not reproduced", "higher"),
        (WIDE, "above", 0.5, "inconclusive", ""),
        (NARROW, None, 0.2, "beyond", ""),
        (29.4, 29.38, 1.0, "reproduced", ""),
        (0.6, 29.4, 1.0, "not reproduced", "lower"),
    ],
)
def test_verdicts_follow_the_rule(values, paper, against, verdict, direction) -> None:
    found = judge(values, paper, against)
    assert (found.verdict, found.direction) == (verdict, direction)
    # a cause makes a difference a correction and nothing else one
    explained = "corrected" if verdict == "not reproduced" else verdict
    assert judge(values, paper, against, cause_shown=True).verdict == explained
    assert judge(values, paper, against, comparable=False).verdict == "not comparable"


def test_a_published_score_of_one_agrees_with_scores_of_nearly_one() -> None:
    assert judge([0.99999, 1.0, 0.9999], 1.0, 0.5, "score").verdict == "reproduced"


def test_a_difference_is_asked_for_its_side_where_its_size_cannot_be_told_from_none() -> None:
    wide = np.array([0.1, 0.2, 0.0, 0.15, 0.05, 0.1])
    told = difference(wide + 1, 1.1, "Table 2", "a note")
    assert told == {"published": (1.1, "Table 2"), "against": {"no difference": 0}, "note": "a note"}
    asked = difference(wide, 0.12, "Table 2", "a note", none="change")
    assert asked["published"] == ("above", "Table 2")
    assert asked["against"] == {"no change": 0}
    low, high = prediction(wide)[1:3]
    assert low < 0 < 0.12 < high
    assert (
        asked["note"]
        == f"The paper's is +0.120, and one more dictionary may have {low:+.3f} to {high:+.3f}. a note"
    )
    assert difference(-wide, -0.12, "Table 2")["published"] == ("below", "Table 2")
    assert judge(wide, "above", 0).verdict == "reproduced", "what the size could not tell"
    assert judge(wide, 0.12, 0).verdict == "inconclusive"
    # a number outside is not reproduced, whatever its side
    assert difference(wide, 0.9, "Table 2")["published"] == (0.9, "Table 2")


def test_every_verdict_has_a_symbol() -> None:
    assert all(len(symbol) == 1 for symbol in VERDICTS.values())
    assert len(set(VERDICTS.values())) == len(VERDICTS)


# --- published numbers, summaries, drawing ----------------------------------------------------------------


def test_published_numbers_are_selected_and_each_says_where_it_stands() -> None:
    every = published()
    assert every.index.is_unique
    assert every[["experiment", "quantity", "where"]].notna().all().all()
    assert np.isfinite(every.value).all()
    one = published(experiment="E2", quantity="mcc", method="SAE")
    assert one.value["E2.1"] == 0.609
    with pytest.raises(Refused, match="no column 'colour'"):
        published(colour="red")
    with pytest.raises(Refused, match="no number"):
        published(method="none")


def test_published_numbers_stand_beside_ours() -> None:
    numbers = published(experiment="E2", quantity="mcc")
    mine = {"SAE": [0.6, 0.61, 0.62], "MLP 32": [0.1, 0.11, 0.12]}
    found = beside(numbers, lambda row: mine.get(row["method"], [])).set_index("key")
    assert found.index.tolist() == ["E2.1", "E2.4"]
    assert found.agrees.tolist() == [True, False]
    assert found.paper.tolist() == [0.609, 0.7805]
    assert found.low["E2.1"] < 0.609 < found.high["E2.1"]


def test_a_summary_has_a_row_a_group_in_order() -> None:
    rows = pd.DataFrame({"m": ["b", "b", "a", "a"], "x": [1.0, 3.0, 5.0, 5.0], "c": [0, 1, 2, 2]})
    found = summarise(rows, by="m", of="x", mean=["c"])
    assert list(found.columns) == ["m", "x", "low", "high", "n", "c"]
    assert found.m.tolist() == ["b", "a"]
    assert found.c.tolist() == [0.5, 2]
    assert (found.low[1], found.high[1]) == (5, 5)
    scores = pd.DataFrame({"m": ["a", "a"], "dict_mcc": [0.9, 0.99], "mse": [0.9, 0.99]})
    assert summarise(scores, "m", "dict_mcc").high[0] <= 1 < summarise(scores, "m", "mse").high[0]


def test_a_method_keeps_its_look_and_methods_differ() -> None:
    assert style("SAE")["color"] == style("SAE, 32768 samples")["color"]
    assert style("unheard of") == style("unheard of")
    looks = [
        tuple(style(name).values()) for name in ("SAE", "MLP 32", "MLP 256", "sparse coding", "u", "v", "w")
    ]
    assert len(set(looks)) == len(looks)


def test_a_legend_stands_below_the_panels(rec: Record) -> None:
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 2)
    table = summarise(pd.DataFrame({"method": list("aabb"), "x": [1.0, 2, 3, 5]}), by="method", of="x")
    for ax in axes:
        dots(ax, table, "x", order=["a", "b"], label="ours")
    rec.table("t", table)
    rec.figure(fig, "f", title="t", alt="a", data="t")
    fig.canvas.draw()
    (box,) = (one.get_window_extent() for one in fig.legends)
    assert all(box.y1 <= ax.get_window_extent().y0 for ax in axes)
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["ours"]
    plt.close(fig)


def test_a_legend_takes_as_many_columns_as_fit(rec: Record) -> None:
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(3, 3))
    for i in range(3):
        ax.plot([0, 1], label=f"a label of some length, number {i}")
    legend(fig)
    fig.canvas.draw()
    box = fig.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= fig.bbox.width
    plt.close(fig)


def test_a_panel_with_more_series_than_can_be_told_apart_is_refused(rec: Record) -> None:
    import matplotlib.pyplot as plt

    rec.table("many", [{"x": 1}])
    fig, axes = plt.subplots(1, 2)
    for i in range(14):
        axes[i % 2].plot([0, 1], [i, i], label=f"method {i}")
    rec.figure(fig, "many", "Seven a panel.", "lines")
    fig, ax = plt.subplots()
    for i in range(8):
        ax.plot([0, 1], [i, i], label=f"method {i}")
    with pytest.raises(Refused, match="8 series in one panel"):
        rec.figure(fig, "more", "Eight.", "lines", data="many")


def test_bands_and_heat_maps_show_the_numbers_given(rec: Record) -> None:
    import matplotlib.pyplot as plt

    fig, (left, right) = plt.subplots(1, 2)
    rows = pd.DataFrame({"x": [1, 1, 2, 2], "y": [1.0, 3.0, 5.0, 7.0]})
    band(left, rows, "x", "y", ends="range", label="l")
    assert left.lines[0].get_ydata().tolist() == [2, 6]
    low, high = left.collections[0].get_datalim(left.transData).intervaly
    assert (low, high) == (1, 7)
    heat_map(right, [[0.0, 1.0]], ["a", "b"], ["r"], cmap="RdBu", vmin=-1, vmax=1)
    assert [text.get_text() for text in right.texts] == ["+0.00", "+1.00"]
    assert [text.get_color() for text in right.texts] == ["#111111", "white"]
    plt.close(fig)


def test_beyond_the_paper_a_claim_that_does_not_exclude_its_alternative_is_inconclusive():
    assert judge([0.4, 0.5, 0.6], against=0.0).verdict == "beyond"
    assert judge([-0.4, 0.5, 0.6], against=0.0).verdict == "inconclusive"
    assert judge([-0.4, 0.5, 0.6]).verdict == "beyond"
