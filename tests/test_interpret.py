"""llm.interpret: rules find what was planted, scores know their chance level, a local server stands for a model."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from amortgap.llm import from_file, load
from amortgap.llm.interpret import (
    Endpoint,
    Examples,
    Places,
    auto_interpret,
    browser,
    card,
    choose_latents,
    explain,
    features,
    first_windows,
    html,
    latent_row,
    logit_effects,
    match_density,
    paired,
    probe,
    sample,
    score,
    survey,
    unpaired,
)
from amortgap.llm.interpret.endpoint import mismarked, quiet
from amortgap.llm.interpret.probing import pool
from tiny_models import save_gpt2

WORDS = [" the", " peace", " war", " of", " Congress", " 1862", ",", " labor", "ment", " civil", " New", "\n"]


@pytest.fixture(scope="module")
def places():
    """300 windows of 32 random words; every position is a row."""
    windows = np.random.default_rng(0).integers(0, len(WORDS), (300, 32))
    window, position = np.indices(windows.shape).reshape(2, -1)
    return Places(windows, dict(enumerate(WORDS)), window, position)


def half(places, first):
    """The first or second 150 windows."""
    rows = np.flatnonzero((places.window < 150) == first)
    return Places(places.windows, places.strings, places.window[rows], places.position[rows]), rows


def previous(places, word, lag=1):
    column = places.position - lag
    return (column >= 0) & (places.windows[places.window, column] == WORDS.index(word))


PLANTED = {
    "a word": lambda p: p.token == WORDS.index(" peace"),
    "the word before": lambda p: previous(p, " civil"),
    "a pair": lambda p: (p.token == WORDS.index(" war")) & previous(p, " civil"),
    "either of two": lambda p: (p.token == WORDS.index(" peace")) | previous(p, " New", 3),
    "capitals": lambda p: np.isin(p.token, [WORDS.index(" Congress"), WORDS.index(" New")]),
    "digits": lambda p: p.token == WORDS.index(" 1862"),
    "nothing": lambda p: np.random.default_rng(1).random(len(p)) < 0.1,
}


def interpreted(places, active):
    values = active * np.random.default_rng(2).random(len(places))
    table = features(places)
    found = []
    for first in (True, False):
        rows = half(places, first)[1]
        examples = sample(values[rows], places.token[rows], 50, seed=first)
        found.append(Examples(rows[examples.row], examples.active, examples.decile))
    learn, held = found
    rule = explain(table, learn)
    return rule, score(rule.holds(table, held.row), held), held


@pytest.mark.parametrize("name", PLANTED)
def test_rules_find_what_was_planted(places, name):
    rule, scores, _ = interpreted(places, PLANTED[name](places))
    assert len(rule.clauses) <= 5
    if name == "nothing":
        assert scores["balanced"] == pytest.approx(0.5, abs=0.15)  # 3 standard errors of 100 coin flips
    else:
        assert scores["f1"] > 0.95, rule.text
        assert scores["balanced"] > 0.95
        assert all(scores[f"decile_{d}"] > 0.7 for d in range(10))
    if name == "the word before":
        assert rule.text == "the word before is “civil”"


def test_a_survey_learns_on_the_first_rows_and_scores_on_the_rest(places):
    n_learn = 150 * 32
    first = np.arange(len(places)) < n_learn
    word = places.token == WORDS.index(" peace")
    changes = np.where(first, word, places.token == WORDS.index(" war"))  # means something else later
    values = np.stack([word, changes], 1) * np.random.default_rng(4).random((len(places), 1))
    table = features(places)
    steady, unsteady = survey(values, [3, 8], places, table, n_learn)
    assert (steady["latent"], unsteady["latent"]) == (3, 8)
    assert steady["f1"] > 0.95
    assert unsteady["f1"] < 0.1
    assert steady["rule"].startswith("the token is “ peace”")
    assert steady["density"] == word.mean()
    nothing = survey(np.repeat(values[:, :1], 30, 1), range(30), places, table, n_learn, shuffled=True)
    assert len({row["f1"] for row in nothing}) == 1  # one seed, one result
    assert nothing[0]["balanced"] == pytest.approx(0.5, abs=0.2)


def test_features_hold_where_their_names_say(places):
    table = features(places)
    index = {name: i for i, name in enumerate(table.names)}
    dense = table.table[:500].toarray().astype(bool)
    row, at = places.windows[places.window], places.position
    for i in range(0, 500, 7):
        word = WORDS[row[i, at[i]]]
        shown = word.replace("\n", "↵")
        assert dense[i, index[f"the token is “{shown}”"]]
        assert dense[i, index["it begins a word"]] == (word[0] == " " and word[1].isalpha())
        assert dense[i, index["it begins with a capital"]] == (word in (" Congress", " New"))
        assert dense[i, index["it is punctuation"]] == (word == ",")
        assert dense[i, index["the same token came before"]] == (row[i, at[i]] in row[i, : at[i]])
        before = [WORDS[t].strip().lower() or "(blank)" for t in row[i, max(0, at[i] - 10) : at[i]]]
        assert dense[i, index["“labor” is among the last 10 words"]] == ("labor" in before)
        if at[i] >= 2:
            assert dense[i, index[f"two words before is “{before[-2]}”"]]
    assert np.asarray(table.table.sum(0)).min() >= 3


def test_examples_are_balanced_hard_and_from_all_deciles(places):
    values = PLANTED["a pair"](places) * np.random.default_rng(3).random(len(places))
    examples = sample(values, places.token, 40)
    assert examples.active.sum() == (~examples.active).sum() == 40
    assert (values[examples.row] > 0).tolist() == examples.active.tolist()
    assert np.bincount(examples.decile[examples.active]).tolist() == [4] * 10
    low, high = (values[examples.row[examples.decile == d]].mean() for d in (0, 9))
    assert low < high
    off = places.token[examples.row[~examples.active]]
    assert (off == WORDS.index(" war")).sum() >= 20  # the same token, not after "civil"
    assert len(set(examples.row.tolist())) == 80
    again = sample(values, places.token, 40)
    assert np.array_equal(examples.row, again.row)
    for constant in (np.zeros(9), np.ones(9)):
        with pytest.raises(ValueError, match="always active, or never"):
            sample(constant, np.zeros(9), 4)


def test_scores_and_their_chance_levels():
    draw = np.random.default_rng(0)
    examples = Examples(np.arange(10_000), np.arange(10_000) % 2 == 0, np.full(10_000, -1))
    assert score(np.ones(10_000, dtype=bool), examples)["f1"] == pytest.approx(2 / 3)
    coin = score(draw.random(10_000) < 0.5, examples)
    assert coin["f1"] == pytest.approx(0.5, abs=0.03)
    assert coin["balanced"] == pytest.approx(0.5, abs=0.03)
    perfect = score(examples.active, examples)
    assert perfect["f1"] == perfect["balanced"] == perfect["precision"] == 1
    silent = score(np.zeros(10_000, dtype=bool), examples)
    assert (silent["f1"], silent["precision"], silent["balanced"]) == (0, 0, 0.5)


def test_latents_to_look_at():
    codes = torch.zeros(100, 6)
    for latent, often in enumerate((0, 5, 20, 30, 50, 80)):
        codes[:often, latent] = 1
    assert choose_latents([codes], 10, least=10).tolist() == [2, 3, 4]
    assert len(choose_latents([codes], 2, least=10)) == 2
    assert (
        choose_latents([codes, codes[:30]], 10, least=10).tolist() == []
    )  # active on more than half of the second
    assert choose_latents([codes, codes.flip(0)[:80]], 10, least=10).tolist() == [3, 4]


def test_first_windows_are_whole():
    acts = from_file(Path(__file__).parent / "data" / "sotu_layer15.safetensors")
    part = first_windows(acts.train, 5)
    assert len(part.window.unique()) == 5
    for window in part.window.unique():
        assert (part.window == window).sum() == (acts.train.window == window).sum()
    assert torch.equal(part.token, acts.windows[part.window, part.position].long())
    assert len(first_windows(acts.train, 10**6).x) == len(acts.train.x)


# --- tests of differences


def test_bootstrap_intervals_cover_and_tests_keep_their_level():
    draw = np.random.default_rng(0)
    covered = rejected = rejected_unpaired = 0
    for i in range(200):
        a = draw.normal(size=60)
        b = a + draw.normal(size=60)
        both = paired(b, a, seed=i)
        covered += both.low <= 0 <= both.high
        rejected += both.p < 0.05
        rejected_unpaired += unpaired(draw.normal(size=60), draw.normal(size=40), seed=i).p < 0.05
    # 200 trials at 95 %: three standard errors are .046, and the bootstrap is a little liberal at n = 60
    assert covered / 200 > 0.89
    assert rejected / 200 < 0.11
    assert rejected_unpaired / 200 < 0.11


def test_differences_say_what_they_measure():
    a = np.arange(50) / 50
    found = paired(a + 0.1 + 0.01 * (np.arange(50) % 2), a)
    assert found.mean == pytest.approx(0.105)
    assert found.low < 0.105 < found.high
    assert found.p < 1e-3
    assert found.d > 10
    assert (unpaired(a + 1, a).mean, unpaired(a, a).p) == (pytest.approx(1), pytest.approx(1, abs=0.05))
    with pytest.raises(ValueError, match="two"):
        paired([1.0], [2.0])
    with pytest.raises(ValueError, match="at least two"):
        unpaired([1.0], [2.0, 3.0])


def test_density_matching_pairs_equals():
    densities = np.array([0.1, 0.01, 0.05])
    i, j = match_density(densities, densities[[2, 0, 1]])
    assert np.array_equal(densities[i], densities[[2, 0, 1]][j])


# --- sparse probing


def test_probing_finds_the_latent_that_knows():
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 200)
    codes = draw.random((200, 50))
    codes[:, 7] += 2 * labels
    found = probe(codes[:120], labels[:120], codes[120:], labels[120:], k=1)
    assert found["best"] > 0.95
    assert found["chance"] == 0.5
    assert abs(found["random"] - 0.5) < 0.25
    assert abs(found["shuffled"] - 0.5) < 0.25
    with pytest.raises(ValueError, match="two classes"):
        probe(codes, np.zeros(200), codes, labels, 1)
    with pytest.raises(ValueError, match="k must be between 1 and 50"):
        probe(codes, labels, codes, labels, 51)


def test_pooling_is_the_mean_of_each_window():
    codes, window = np.arange(8.0).reshape(4, 2), np.array([5, 2, 5, 2])
    means, windows = pool(codes, window)
    assert windows.tolist() == [2, 5]
    assert means.tolist() == [[4, 5], [2, 3]]


# --- cards


def test_a_card_shows_the_strongest_contexts_and_escapes(places):
    values = np.zeros(len(places))
    values[[5, 70, 200]] = 3, 1, 2
    made = card("latent <1>", values, places, "the word is “<b>”", {"f1": 0.5}, ([" war"], ["<s>"]))
    assert [c["code"] for c in made["contexts"]] == [3, 2, 1, 2]  # and the median
    assert made["contexts"][0]["token"] == WORDS[places.token[5]]
    assert made["density"] == 3 / len(places)
    page = html([made])
    assert "latent &lt;1&gt;" in page
    assert "&lt;s&gt;" in page
    assert "<s>" not in page
    json.dumps(made)


def test_a_latent_is_shown_read_off_and_solved_with_its_strengths(places):
    read, solved = np.zeros(len(places)), np.zeros(len(places))
    read[[5, 70]] = 3, 1
    solved[[5, 200]] = 4, 2
    of = {"density": 0.1, "balanced": 0.75, "rule": "the word is “<b>”"}
    row = latent_row(
        7, {"read off": read, "solved": solved}, {"read off": of, "solved": of | {"balanced": 0.8}}, places
    )
    assert (row["latent"], row["balanced_0"], row["balanced_1"]) == (7, 0.75, 0.8)
    page = row["html"]
    # the same text stands once for each way, and each way's strengths are its own
    assert (
        page.count("<b>read off</b>")
        == page.count("<b>solved</b>")
        == len({int(places.window[i]) for i in (5, 70, 200)})
    )
    word = WORDS[places.token[5]]
    assert f'<mark style="--s:0.75" title="3.00">{word}</mark>' in page
    assert f'<mark style="--s:1.00" title="4.00">{word}</mark>' in page
    assert page.count("<mark") == 4
    assert "“&lt;b&gt;”" in page
    every = browser([row, row | {"latent": 8}])
    assert every.count('class="latent"') == 2
    silent = latent_row(
        1, {"read off": read * 0, "solved": solved * 0}, {"read off": of, "solved": of}, places
    )
    assert "<mark" not in silent["html"]


def test_logit_effects_are_those_of_the_model(tmp_path):
    torch.manual_seed(0)
    lm = load(str(save_gpt2(tmp_path)))
    d = torch.randn(16, generator=torch.Generator().manual_seed(1))
    raised, lowered = logit_effects(lm, d, count=3)
    # at the last block, a small step along d changes the logits so, up to the norm's common scale
    x = torch.randn(16, generator=torch.Generator().manual_seed(2))
    norm, head = lm.model.transformer.ln_f, lm.model.lm_head
    centred = d - d.mean()
    unit = (x - x.mean()) / x.std(unbiased=False)
    tangent = centred - unit * (centred @ unit) / 16  # the norm removes the part along x
    change = head(norm(x + 1e-3 * d)) - head(norm(x))
    expected = head.weight @ (tangent * norm.weight) / x.std(unbiased=False) * 1e-3
    torch.testing.assert_close(change, expected, rtol=0.05, atol=2e-6)
    effect = head.weight @ (centred * norm.weight)
    assert raised == [lm.tokenizer.decode([i]) for i in effect.topk(3).indices.tolist()]
    assert lowered[0] == lm.tokenizer.decode([int(effect.argmin())])


# --- an endpoint


class Answers(BaseHTTPRequestHandler):
    """A "model" that describes the most frequent marked token and then looks for it."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers.get("Authorization"), asked))
        if self.server.failures:
            self.send_response(self.server.failures.pop())
            self.end_headers()
            return
        text = asked["messages"][0]["content"]
        if self.server.nonsense:
            answer = self.server.nonsense
        elif "have in common" in text:
            tokens = re.findall(r"<<(.*?)>>", text.split("\n\n", 1)[1])
            answer = f"The word {max(set(tokens), key=tokens.count).strip()}"
        else:
            word = re.search(r"“The word (\S+)”", text)[1]
            lines = re.findall(r"^\d+\. .*$", text, flags=re.M)
            sought = f"<< {word}>>" if "Is the token between" in text else word
            answer = "Here it is: " + json.dumps([int(sought in line) for line in lines])
        body = json.dumps({"choices": [{"message": {"content": answer}}]}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = HTTPServer(("127.0.0.1", 0), Answers)
    server.asked, server.failures, server.nonsense = [], [], ""
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    server.endpoint = Endpoint(
        f"http://127.0.0.1:{server.server_port}/v1", "tiny", "secret", pause=0.01, timeout=5
    )
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def rare(places):
    """A latent that is active on the word "peace", in every other window, so that silent contexts exist."""
    return (places.token == WORDS.index(" peace")) & (places.window % 2 == 0)


def sparse_places():
    """Windows in which "peace" is rare."""
    windows = np.random.default_rng(0).integers(2, len(WORDS), (200, 32))
    windows[::2, 16] = WORDS.index(" peace")
    window, position = np.indices(windows.shape).reshape(2, -1)
    return Places(windows, dict(enumerate(WORDS)), window, position)


def test_a_latent_is_explained_and_scored_through_an_endpoint(server):
    places = sparse_places()
    values = rare(places) * np.linspace(1, 2, len(places))
    learn, held = ((part, values[rows]) for part, rows in (half(places, True), half(places, False)))
    found = auto_interpret(server.endpoint, learn, held, count=12)
    assert found["explanation"] == "The word peace"
    for kind in ("detection", "fuzzing"):
        assert found[kind]["f1"] == found[kind]["balanced"] == 1
    path, authorization, asked = server.asked[0]
    assert (path, authorization, asked["model"]) == ("/v1/chat/completions", "Bearer secret", "tiny")
    assert "secret" not in repr(server.endpoint)
    # held-out contexts are not those that were shown for the explanation
    assert len(server.asked) == 1 + 2 * 3


def test_detection_and_fuzzing_examples():
    places = sparse_places()
    values = rare(places).astype(float)
    examples = quiet(places, values, sample(values, places.token, 60), 20)
    assert examples.active.sum() == (~examples.active).sum() == 20
    for row in examples.row[~examples.active]:
        assert " peace" not in "".join(places.context(row))
    fuzzing = mismarked(places, values, examples)
    assert fuzzing.active.sum() == (~fuzzing.active).sum() == 20
    assert (values[fuzzing.row] > 0).tolist() == fuzzing.active.tolist()
    assert set(places.window[fuzzing.row]) == set(places.window[examples.row[examples.active]])


def test_an_endpoint_that_stumbles_is_asked_again(server):
    server.failures = [503, 429]
    assert server.endpoint.ask("What they have in common?\n\n1. <<a>>") == "The word a"
    assert len(server.asked) == 3


def test_an_endpoint_that_fails(server, monkeypatch):
    server.failures = [401]
    with pytest.raises(RuntimeError, match=r"tiny at http://127.* gave no answer \(HTTP 401\)"):
        server.endpoint.ask("x")
    assert len(server.asked) == 1  # a refusal is final
    server.failures = [500] * 9
    with pytest.raises(RuntimeError, match="HTTP 500"):
        server.endpoint.ask("x")
    server.failures = []
    places = sparse_places()
    values = rare(places).astype(float)
    for nonsense in ("I cannot say", "[1, 0]", "[1, 0,"):
        server.nonsense = nonsense
        with pytest.raises(RuntimeError, match="twice answered with no list of 8 zeros and ones"):
            auto_interpret(server.endpoint, (places, values), (places, values), count=10)
    with pytest.raises(RuntimeError, match="gave no answer"):
        Endpoint("http://127.0.0.1:9/v1", "tiny", tries=1).ask("x")


def test_the_endpoint_of_the_environment(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ValueError, match="set OPENAI_BASE_URL"):
        Endpoint.from_environment("m")
    monkeypatch.setenv("OPENAI_BASE_URL", "file:///etc/passwd")
    with pytest.raises(ValueError, match="set OPENAI_BASE_URL"):
        Endpoint.from_environment("m")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert Endpoint.from_environment("m").key == "k"
