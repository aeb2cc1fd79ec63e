"""What users write: requests to draw an ECG, requests to explain one, questions about findings and measurements.

Every function takes the `random.Random` to draw from, so a corpus follows from its seed. The words are written by
hand: frames with slots, then light noise (lower case, a missing full stop, now and then one slip of the keyboard).
Verbs such as "make", "produce" and "show me" occur on both sides, so that only the meaning tells a request to draw
from a request to explain.
"""

from __future__ import annotations

import re
from random import Random
from typing import Literal

from uniecg_export.training import wording
from uniecg_export.training.wording import LABEL_TEXT

__all__ = ["LABEL_TEXT", "draw_request", "explain_request", "measurement_question", "slip", "yes_no_question"]

Sex = Literal["male", "female"]


# Words that already name a recording: "normal ECG" takes an article and no further noun.
_RECORD = re.compile(r"\b(ecg|ekg|electrocardiogram|tracing|trace|recording|record|strip)s?\b", re.IGNORECASE)
_JOINTS = re.compile(r",| and | with | plus ")
_NOTHING_NAMED = re.compile(r"(an? )?(12-lead |resting )?(ECG|EKG|electrocardiogram|heart tracing)")
_SPOKEN_VOWEL = re.compile(r"([aeiouAEIOU]|[FHLMNRSX](?=[A-Z0-9]|\b))|8|1[18]\b")
_SAID_AS_WORD = ("STEMI", "MIBI", "uni", "one", "Eur", "eur")


def _an(words: str) -> str:
    """`words` with the indefinite article that fits how they are spoken: "an ST depression", "a pacemaker rhythm"."""
    if re.match(r"(a|an|the|some|signs)\b(?!-)", words):
        return words
    vowel = _SPOKEN_VOWEL.match(words) and not words.startswith(_SAID_AS_WORD)
    return f"{'an' if vowel else 'a'} {words}"


def _is_record(description: str) -> bool:
    """Whether its first finding names a recording itself: "normal ECG, sinus rhythm"."""
    return bool(_RECORD.search(_JOINTS.split(description)[0]))


def _plural(words: str) -> bool:
    """Whether the noun phrase takes "are"; "fibrillating atria" does though it ends without s."""
    head = re.split(r",| of | with | and | plus | in ", words)[0]
    return head.endswith("atria") or (head.endswith("s") and not head.endswith(("ss", "is", "us")))


# One of something: "a heart attack", "a delta wave", but plain "ischemia".
_COUNTED = re.compile(
    r"(heart attack|infarct|delta wave|sinus rate|QT interval|PR interval|long QTc?|prolonged QTc|hemiblock|pattern"
    r"|defect|disorder|conduction disturbance|abnormality|ventricle|atrium|pacemaker rhythm|ST segment)( of .*)?$"
)


def _counted(rng: Random, words: str) -> str:
    """`words`, mostly with an article where it names one of something."""
    return _an(words) if _COUNTED.search(words.split(",")[0]) and rng.random() < 0.8 else words


_KEYS = re.compile(r"[a-z]{6,}")
# A slip in one of these would change or hide what is asked for.
_NEVER_MISTYPED = ("female", "anterior", "inferior", "lateral")


def slip(rng: Random, text: str) -> str:
    """One keyboard slip inside a long word: two letters swapped, or one letter missing or doubled."""
    words = [match for match in _KEYS.finditer(text) if match.group() not in _NEVER_MISTYPED]
    if not words:
        return text
    word = rng.choice(words)
    at = rng.randrange(word.start() + 1, word.end() - 2)
    kind = rng.randrange(3)
    if kind == 0:
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text[:at] + text[at + 1 :] if kind == 1 else text[:at] + text[at] + text[at:]


def _finish(rng: Random, text: str) -> str:
    """Capital, end mark and noise as people type them."""
    text = re.sub(r"\s+", " ", text).strip().replace(" ,", ",").replace(" ;", ";")
    text = re.sub(r"([,;:])[,;]", r"\1", text)
    style = rng.random()
    if style < 0.30:
        text = text.lower()
    elif style < 0.75:
        text = text[0].upper() + text[1:]
    if text[-1] not in "?!.":
        text += rng.choices(("", ".", "!"), (55, 42, 3))[0]
    elif rng.random() < 0.2:
        text = text.rstrip("?!.")
    if rng.random() < 0.05:
        text = slip(rng, text)
    return text


# ---------------------------------------------------------------------------------------------- requests to draw


def _pick(rng: Random, weighted: tuple[tuple[str, int], ...]) -> str:
    return rng.choices([entry for entry, _ in weighted], [weight for _, weight in weighted])[0]


def _person(rng: Random, sex: Sex | None, age: int | None) -> str:
    """Noun phrase with article: "a 70-year-old man", "a woman", "a patient aged 54"."""
    if sex is None:
        who = rng.choice(wording.ANYONE[:-1] if age is not None and age < 18 else wording.ANYONE)
    elif age is not None and age < 16:
        who = rng.choice(wording.CHILD_NOUNS[sex])
    else:
        who = rng.choice(wording.SEX_NOUNS[sex][:-1] if age is not None and age < 18 else wording.SEX_NOUNS[sex])
    if age is None:
        return _an(who)
    return _an(rng.choice(wording.PERSON_AGED).format(y=age, who=who))


def _person_tag(rng: Random, sex: Sex | None, age: int | None) -> str:
    """The patient as a terse tag: "male, 70 years", "age 54", "f"; empty where nothing is known."""
    if sex and age is not None:
        if rng.random() < 0.06:
            return rng.choice((f"{age}{sex[0].upper()}", f"{sex[0].upper()}{age}", f"{sex[0]}/{age}", f"{age}{sex[0]}"))
        return rng.choice(wording.BOTH_TAGS).format(sex=sex, y=age)
    if sex:
        return rng.choice(wording.SEX_TAGS[sex])
    return rng.choice(wording.AGE_TAGS).format(y=age) if age is not None else ""


def _subject(rng: Random, description: str) -> str:
    """What is to be drawn, with article: "an ECG with atrial fibrillation", "a normal ECG"."""
    if _is_record(description):
        return description if rng.random() < 0.12 else _an(description)
    noun = _pick(rng, wording.NOUNS)
    if rng.random() < 0.25:
        noun = f"{rng.choice(wording.ADJECTIVES)} {noun}"
    noun = _an(noun) if rng.random() < 0.93 else noun
    if _RECORD.search(description):
        return f"{noun}{rng.choice((': ', ', ', ' for: '))}{description}"
    simple = not re.search(r",| and | with | plus | of | for ", description) and not _plural(description)
    form = rng.random()
    if form < 0.58:
        return f"{noun} {rng.choice(wording.LINKS)} {_counted(rng, description)}"
    if form < 0.70 and simple:
        return _an(f"{description} {rng.choice(('ECG', 'ECG', 'EKG', 'tracing', 'strip', 'example', 'recording'))}")
    if form < 0.84:
        return f"{rng.choice(wording.EXAMPLES)} {description}"
    return f"{noun}{rng.choice((': ', ', '))}{description}" if form < 0.90 else description


def _after(rng: Random, rate: int | None, sex: Sex | None, age: int | None, *, of: bool = True) -> str:
    """Rate and patient as phrases that follow the subject, in either order; starts with a space or a comma.

    `of`: also "of a woman", not only "in a woman".
    """
    parts = []
    if rate is not None:
        parts.append(rng.choice(wording.RATE_AFTER).format(n=rate))
    if sex or age is not None:
        link = rng.choice(("from", "of", "for", "in")) if of else "in"
        person = f"{link} {_person(rng, sex, age)}"
        parts.append(person if rng.random() < 0.6 else f", {_person_tag(rng, sex, age)}")
    rng.shuffle(parts)
    # "and a heart rate of 60" needs something before it to continue.
    if parts and parts[0].startswith("and "):
        parts[0] = "with " + parts[0].removeprefix("and ")
    return "".join(part if part.startswith(",") else f" {part}" for part in parts)


def _terse(rng: Random, description: str, rate: int | None, sex: Sex | None, age: int | None) -> str:
    tags = [rng.choice(wording.RATE_TAG).format(n=rate)] if rate is not None else []
    tags += [tag for tag in [_person_tag(rng, sex, age)] if tag]
    rng.shuffle(tags)
    parts = [*tags, description] if rng.random() < 0.25 else [description, *tags]
    body = rng.choice((", ", ", ", " ", " ", "; ", " / ", " - ")).join(parts)
    if rng.random() < 0.6:
        return f"{rng.choice(wording.TERSE_HEADS)} {body}"
    return f"{body} {rng.choice(wording.TERSE_TAILS)}"


_PLAIN_ASK = tuple(frame for frame in wording.ASK if frame.startswith(("{v}", "please", "could you", "can you")))


def _sentence(rng: Random, description: str, rate: int | None, sex: Sex | None, age: int | None) -> str:
    verb, gerund = rng.choices([pair for pair, _ in wording.VERBS], [weight for _, weight in wording.VERBS])[0]
    form = rng.random()
    purpose = f" {rng.choice(wording.PURPOSES)}" if rng.random() < 0.2 else ""
    named = _an(description) if _is_record(description) else _counted(rng, description)
    if form < 0.14 and not _NOTHING_NAMED.fullmatch(description):
        looks = "look" if _plural(description) else "looks"
        example = rng.choice(("an example", "an ECG", "one", "a tracing", "a 12-lead ECG", "a sample", "an EKG"))
        frame = rng.choice(wording.STORY)
        after = _after(rng, rate, sex, age, of="{looks}" not in frame)
        return frame.format(v=verb, d=named, e=example, a=after, looks=looks)
    if form < 0.28 and (sex or age is not None) and not _RECORD.search(description):
        after = _after(rng, rate, None, None)
        subject = f"{_subject(rng, description)}{after}"
        person = _person(rng, sex, age)
        return rng.choice(wording.CASE).format(v=verb, p=person, d=f"{named}{after}", s=subject)
    subject = _subject(rng, description)
    if form < 0.36 and rate is not None:
        # The rate first: "at 110 bpm, draw ...".
        tag = rng.choice((f"at {rate} bpm", f"at a rate of {rate}", f"with a heart rate of {rate}", f"HR {rate}"))
        subject = f"{subject}{_after(rng, None, sex, age)}"
        frame = rng.choice(_PLAIN_ASK).format(v=verb, s=subject)
        return f"{tag}{rng.choice((', ', ': '))}{frame}"
    subject = f"{subject}{_after(rng, rate, sex, age)}"
    if purpose:
        subject = f"{subject}{'' if rng.random() < 0.7 else ','}{purpose}"
    return rng.choice(wording.ASK if form < 0.72 else wording.GET).format(v=verb, g=gerund, s=subject)


def draw_request(rng: Random, description: str, rate: int | None, sex: Sex | None, age: int | None) -> str:
    """A request to draw an ECG with `description` at `rate` (beats per minute), of a patient of `sex`, `age` in years.

    What is None is not mentioned; an empty description asks for any ECG. The numbers given
    stand in the text as digits; otherwise only "12-lead" has any.
    """
    description = description or rng.choice(("ECG", "ECG", "EKG", "12-lead ECG", "electrocardiogram", "resting ECG"))
    if rng.random() < 0.2:
        return _finish(rng, _terse(rng, description, rate, sex, age))
    return _finish(rng, _sentence(rng, description, rate, sex, age))


# ------------------------------------------------------------------------------------------- requests to explain


_EXPLAIN_SLOTS = {
    "study": wording.STUDY,
    "make": wording.REPORT_VERBS,
    "report": wording.REPORTS,
    "this": wording.THIS,
    "findings": wording.FINDINGS,
}
_EXPLAIN_FRAMES = (wording.EXPLAIN_STUDY, wording.EXPLAIN_REPORT, wording.EXPLAIN_CONFUSABLE, wording.EXPLAIN_ASK)


def _explain(rng: Random) -> str:
    frame = rng.choice(rng.choices(_EXPLAIN_FRAMES, (26, 20, 20, 34))[0])
    return frame.format(**{slot: rng.choice(entries) for slot, entries in _EXPLAIN_SLOTS.items()})


def explain_request(rng: Random) -> str:
    """A request to explain, interpret or report the attached ECG; now and then it tells of the patient first."""
    text = _explain(rng)
    if rng.random() < 0.06:
        sexes: tuple[Sex | None, ...] = (None, "male", "female")
        person = _person(rng, rng.choice(sexes), rng.choice((None, rng.randint(18, 92))))
        text = rng.choice(wording.EXPLAIN_CASE).format(p=person, q=text)
    return _finish(rng, text)


# --------------------------------------------------------------------------- questions on findings, measurements


def yes_no_question(rng: Random, finding: str) -> str:
    """A question that yes or no answers: whether the attached ECG shows `finding`. Never negated."""
    if _RECORD.search(finding):
        return _finish(rng, rng.choice(wording.YES_NO_RECORD).format(f=_an(finding), b=finding))
    named = _counted(rng, finding)
    text = rng.choice(wording.YES_NO).format(f=named, b=finding, this=rng.choice(wording.THIS))
    if finding.startswith("signs of "):
        text = re.sub(r"\b(any )?(signs?|evidence) of signs of ", "signs of ", text)
    if _plural(finding):
        text = re.sub(rf"\bis (there (?:any )?)?(?={re.escape(finding)})", lambda match: f"are {match[1] or ''}", text)
        text = re.sub(rf"\b(this|it)( is)? (?={re.escape(finding)})", _these, text)
        text = re.sub(r"\bis (these|they)\b", r"are \1", text)
    return _finish(rng, text)


def _these(match: re.Match[str]) -> str:
    return ("they " if match[1] == "it" else "these ") + ("are " if match[2] else "")


def measurement_question(rng: Random, name: str) -> str:
    """A question for one measurement: heart_rate, pr, qrs, qt, qtc or axis. KeyError for any other name."""
    frames = wording.MEASURE if rng.random() < 0.6 else wording.MEASURE_OWN[name]
    measure = rng.choice(wording.MEASURE_NAMES[name])
    text = rng.choice(frames).format(m=measure, b=measure.removeprefix("the "), this=rng.choice(wording.THIS))
    return _finish(rng, text)
