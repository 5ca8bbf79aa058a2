"""Auto-interpretation by a language model behind an OpenAI-compatible endpoint, where the user configures one.

    explain     the model reads active contexts from all deciles, tokens marked, and writes one sentence
    detection   shown the sentence and unmarked held-out contexts, it says in which the latent is active
    fuzzing     shown held-out contexts with one token marked, it says whether the mark is right

Bills et al., Language models can explain neurons in language models (2023); Paulo et al., Automatically
Interpreting Millions of Features in Large Language Models (2024), sections 3.1 and 3.3. Where possible an
inactive context is a hard one: it holds a token on which the latent is active elsewhere.
"""

from __future__ import annotations

import json
import os
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field, replace

import numpy as np

from amortgap.llm.interpret.examples import Examples, Places, sample
from amortgap.llm.interpret.rules import score

SHOWN = 8  # contexts in one question
BEFORE, AFTER = 14, 5  # tokens of a context, as Places.context cuts it


@dataclass(frozen=True)
class Endpoint:
    """Where to ask: url ends before ``/chat/completions``, e.g. ``http://localhost:8000/v1``."""

    url: str
    model: str
    key: str = field(default="", repr=False)
    timeout: float = 60.0
    tries: int = 4
    pause: float = 1.0  # seconds before the second try, doubled each time

    @classmethod
    def from_environment(cls, model: str) -> Endpoint:
        """The endpoint of OPENAI_BASE_URL, with OPENAI_API_KEY if set. Raises ValueError without the first."""
        url = os.environ.get("OPENAI_BASE_URL", "")
        if not url.startswith(("http://", "https://")):
            raise ValueError(
                "set OPENAI_BASE_URL to an OpenAI-compatible endpoint, such as http://localhost:8000/v1"
            )
        return cls(url, model, os.environ.get("OPENAI_API_KEY", ""))

    def ask(self, question: str) -> str:
        """The model's answer. Raises RuntimeError when the endpoint refuses, or fails `tries` times."""
        body = {"model": self.model, "temperature": 0, "messages": [{"role": "user", "content": question}]}
        headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {self.key}"} if self.key else {}
        )
        request = urllib.request.Request(
            f"{self.url.rstrip('/')}/chat/completions", json.dumps(body).encode(), headers
        )
        for attempt in range(self.tries):
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as response:
                    return str(json.load(response)["choices"][0]["message"]["content"])
            except urllib.error.HTTPError as error:
                why = f"HTTP {error.code}"
                if error.code != 429 and error.code < 500:
                    break
            except (OSError, KeyError, IndexError, ValueError) as error:
                why = f"{type(error).__name__}: {error}"
            if attempt + 1 < self.tries:
                time.sleep(self.pause * 2**attempt)
        raise RuntimeError(f"{self.model} at {self.url} gave no answer ({why})")


def marked(places: Places, row: int) -> str:
    """The context of a row with its token between double angle brackets."""
    left, token, right = places.context(row, BEFORE, AFTER)
    return f"{left}<<{token}>>{right}".replace("\n", " ")


def explain(endpoint: Endpoint, places: Places, examples: Examples) -> str:
    """One sentence about the active examples."""
    rows = examples.row[examples.active]
    contexts = "\n".join(f"{i + 1}. {marked(places, row)}" for i, row in enumerate(rows))
    return endpoint.ask(
        "A latent of a sparse autoencoder is active on the tokens between << and >> in these texts. Say in one "
        "short sentence what these tokens, or their contexts, have in common. Answer with the sentence only."
        f"\n\n{contexts}"
    ).strip()


def judge(endpoint: Endpoint, question: str, texts: list[str]) -> np.ndarray:
    """Yes or no (m,) for each text. Raises RuntimeError when two answers in turn are not a list of 0 and 1."""
    said: list[bool] = []
    for start in range(0, len(texts), SHOWN):
        part = texts[start : start + SHOWN]
        numbered = "\n".join(f"{i + 1}. {text}" for i, text in enumerate(part))
        asked = f"{question} Answer with a JSON list of {len(part)} numbers, 1 for yes and 0 for no.\n\n{numbered}"
        for _ in range(2):
            if (found := _verdicts(endpoint.ask(asked), len(part))) is not None:
                break
        else:
            raise RuntimeError(f"{endpoint.model} twice answered with no list of {len(part)} zeros and ones")
        said += found
    return np.array(said, dtype=bool)


def _verdicts(answer: str, count: int) -> list[bool] | None:
    found = re.findall(r"\[[01,\s]*\]", answer)
    try:
        values = json.loads(found[-1]) if found else []
    except json.JSONDecodeError:
        return None
    return [bool(v) for v in values] if len(values) == count else None


def auto_interpret(
    endpoint: Endpoint,
    learn: tuple[Places, np.ndarray],
    held: tuple[Places, np.ndarray],
    count: int = 20,
    seed: int = 0,
) -> dict[str, object]:
    """Explain one latent on `learn`, (places, values), and score the explanation on `held`, other documents.

    The answer has explanation, detection and fuzzing (see `rules.score`).
    """
    places, values = held
    explanation = explain(endpoint, learn[0], sample(learn[1], learn[0].token, count, seed))
    detection = quiet(places, values, sample(values, places.token, 2 * count, seed), count)
    texts = ["".join(places.context(row, BEFORE, AFTER)).replace("\n", " ") for row in detection.row]
    said = judge(
        endpoint, f"A latent is described so: “{explanation}” Is it active in each of these texts?", texts
    )
    fuzzing = mismarked(places, values, detection, seed)
    right = judge(
        endpoint,
        f"A latent is described so: “{explanation}” Is the token between << and >> one on which it is active?",
        [marked(places, row) for row in fuzzing.row],
    )
    scores = {"detection": score(said, detection), "fuzzing": score(right, fuzzing)}
    return {"explanation": explanation, **scores}


def quiet(places: Places, values: np.ndarray, examples: Examples, count: int) -> Examples:
    """At most `count` examples of each kind, and no inactive one that has an active token in its shown context."""
    loud = np.zeros(places.windows.shape, dtype=bool)
    loud[places.window, places.position] = values > 0
    kept = []
    left = {True: count, False: count}
    for i, (row, active) in enumerate(zip(examples.row, examples.active, strict=True)):
        at = places.position[row]
        near = loud[places.window[row], max(0, at - BEFORE) : at + 1 + AFTER].any()
        if (active or not near) and left[bool(active)]:
            left[bool(active)] -= 1
            kept.append(i)
    return replace(
        examples, row=examples.row[kept], active=examples.active[kept], decile=examples.decile[kept]
    )


def mismarked(places: Places, values: np.ndarray, examples: Examples, seed: int = 0) -> Examples:
    """The active examples, and for each a silent token near it in the same window, if there is one."""
    draw = np.random.default_rng(seed)
    active = examples.row[examples.active]
    wrong = []
    for row in active:
        near = np.flatnonzero(
            (places.window == places.window[row])
            & (abs(places.position - places.position[row]) <= BEFORE)
            & (values <= 0)
        )
        wrong += [int(draw.choice(near))] if len(near) else []
    rows = np.concatenate([active, np.array(wrong, dtype=int)])
    decile = np.concatenate([examples.decile[examples.active], np.full(len(wrong), -1)])
    shuffle = draw.permutation(len(rows))
    return Examples(rows[shuffle], decile[shuffle] >= 0, decile[shuffle])
