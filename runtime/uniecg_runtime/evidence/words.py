"""The words of an ECG report, found in free text with their place: quantities, numbers, adjectives, findings, leads.

One pass of one regular expression without nested repetition: the time is linear in the text, whoever wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

Type = Literal["name", "number", "adjective", "finding", "leads", "stop", "not", "unasserted", "hedge"]


@dataclass(frozen=True)
class Word:
    """A word or phrase at text[start:end]. what: which quantity, adjective or finding it is."""

    type: Type
    what: str
    start: int
    end: int


# Same length as what they replace, so that places stay places.
_PLAIN: Final = str.maketrans(
    dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-")
    | dict.fromkeys("*_`#\u00a0\u202f\t", " ")
    | {"\u2019": "'"}
)

_SPAN: Final = r"(?:[ -](?:intervals?|durations?|complex(?:es)?|width|time))?"
_BRADY: Final = "brady(?:cardia|cardic)?"
_AV_BLOCK: Final = r"(?:(?:AV|A-V|atrioventricular(?: \(AV\))?|heart)(?: conduction)?[ -]?block|AVB)"
_BUNDLE: Final = r"bundle[ -]branch[ -]block"
_RECORD: Final = r"(?:12-lead )?(?:resting )?(?:ECG|EKG|electrocardiogram|tracing)"

# Longer phrases first: the first that fits is taken.
FINDINGS: Final[dict[str, str]] = {
    "normal sinus rhythm": r"normal sinus rhythm|NSR",
    "sinus arrhythmia": r"sinus arr?h?ythmia",
    "sinus bradycardia": rf"sinus {_BRADY}|{_BRADY} sinus rhythm|slow sinus rhythm",
    "sinus tachycardia": r"sinus tach(?:y(?:cardia)?)?|(?:tachycardic|fast|rapid) sinus rhythm",
    "sinus rhythm": r"sinus(?: node)? rhythm|rhythm is (?:of )?sinus(?: origin)?|sinus origin",
    "atrial fibrillation": r"atrial fib(?:rillation)?|a-?fib|(?-i:AF)|auricular fibrillation",
    "other rhythm": (
        r"atrial flutter|(?:supra)?ventricular (?:tachycardia|fibrillation)|atrial tachycardia|SVT|AVN?RT"
        r"|junctional (?:rhythm|escape|tachycardia)|idioventricular rhythm|(?:ectopic|low) atrial rhythm|escape rhythm"
        r"|wandering (?:atrial )?pacemaker"
    ),
    "pacing": r"(?:atrial |ventricular |dual[ -]chamber )*(?:paced(?: rhythm)?|pacing|pacemaker(?: rhythm| spikes?)?)",
    "first-degree AV block": (
        rf"(?:first|1st|I|1)(?:[ -]degree|°) {_AV_BLOCK}|{_AV_BLOCK} of (?:the )?first degree"
        rf"|{_AV_BLOCK},? (?:(?:grade|degree|type) )?(?:I|1)(?![\w:])"
    ),
    "higher AV block": (
        rf"(?:second|third|2nd|3rd|high|complete)[ -](?:degree|grade)? ?{_AV_BLOCK}"
        r"|[2-4]:1 (?:AV |A-V )?(?:block|conduction)|Mobitz|Wenckebach"
    ),
    "incomplete bundle branch block": rf"(?:incomplete|partial) (?:right |left )?{_BUNDLE}|i[RL]BBB|incomplete [RL]BBB",
    "right bundle branch block": rf"(?:complete )?right {_BUNDLE}|(?:complete |C)?RBBB",
    "left bundle branch block": rf"(?:complete )?left {_BUNDLE}|(?:complete |C)?LBBB",
    "bundle branch block": _BUNDLE,
    "fascicular block": r"bifascicular block|trifascicular block",
    "left anterior fascicular block": r"left anterior (?:hemi|fascic\w+ )block|LAFB|LAHB",
    "left posterior fascicular block": r"left posterior (?:hemi|fascic\w+ )block|LPFB|LPHB",
    "intraventricular conduction delay": (
        r"(?:non-?specific )?intraventricular (?:conduction )?(?:delay|disturbance|block|defect)|IVCD"
    ),
    "LVH voltage": (
        r"(?:voltage(?: criteria)?|Sokolow(?:-| and )?\s?Lyon(?: voltage)?(?: criteri(?:a|on))?) "
        r"(?:for|of|suggest\w+|indicat\w+) (?:LVH|left ventricular hypertrophy)"
        r"|(?:LVH|left ventricular hypertrophy) (?:by|on|per|according to) (?:the )?(?:voltage|Sokolow)(?: criteri\w+)?"
        r"|Sokolow(?:-| and )?\s?Lyon criteri\w+"
    ),
    "LVH": r"left ventricular hypertrophy|LV hypertrophy|LVH",
    "unmeasured": (
        r"(?:(?:acute|old|recent|prior|probable|ST-elevation|anter(?:ior|o)\w*|infer(?:ior|o)\w*|septal"
        r"|(?:high )?lateral|posterior|possible|non-?) ?){0,3}(?:myocardial )?(?:infarct(?:ion)?|isch(?:a)?emia)"
        r"|N?STEMI"
        r"|right ventricular hypertrophy|RVH|(?:left |right |bi)?atrial (?:enlargement|hypertrophy|abnormality)"
        r"|Wolff[- ]Parkinson[- ]White(?: pattern| syndrome)?|WPW|delta waves?|pre-?excitation"
        r"|(?:ventricular |atrial |supraventricular )?(?:premature|ectopic) (?:ventricular |atrial )?"
        r"(?:complex(?:es)?|contractions?|beats?)|PVCs?|PACs?|VPCs?|APCs?|extrasystoles?"
        r"|(?:poor |normal )?R[ -]wave progression|early repolari[sz]ation|Brugada"
        r"|conduction (?:disturbance|abnormality)|hyperk\w+|hypok\w+|pericarditis|strain(?: pattern)?"
        r"|hypertrophy|fragmented QRS|U[ -]waves?"
    ),
    "low voltage": r"low[ -](?:QRS[ -])?(?:voltages?|amplitudes?)|(?:reduced|decreased) QRS (?:voltages?|amplitudes?)",
    "tall R": r"(?:tall|high|prominent) R[ -]waves?",
    "normal ECG": rf"(?<!ab)normal {_RECORD}|{_RECORD} (?:is |appears )?(?:entirely )?(?:within normal limits|normal)",
    "ST-T change": (
        r"ST[ -/,]{1,2}T(?:[- ]wave)? (?:wave )?(?:changes?|abnormalit\w+|deviations?)"
        r"|ST(?:,| or| and) T(?:,? or| and|,) Q[ -]wave (?:findings?|changes?|abnormalit\w+)"
        r"|repolari[sz]ation (?:abnormalit\w+|changes?)"
    ),
    "axis deviation": (
        r"(?<!left )(?<!right )(?<!leftward )(?<!rightward )(?<!extreme )axis deviation"
        r"(?! (?:of|to|is|at|by)\b| ?[(:])"
    ),
    "abnormality": r"(?:specific |significant |other |acute |obvious |clear )*abnormalit(?:y|ies)",
    "Q wave": (
        r"(?:(?:pathologic(?:al)?|significant|abnormal|deep|prominent|wide) )*"
        r"(?:Q[ -]waves?|QS (?:complex(?:es)?|patterns?))"
    ),
    "bradycardia": _BRADY,
    "tachycardia": r"tachy(?:cardia|cardic)",
}
NAMES: Final[dict[str, str]] = {
    "other axis": r"[PT](?:-wave| wave)? axis",
    "axis": r"(?:(?:frontal|mean|electrical|cardiac|heart|QRS)(?: plane)? )*axis",
    "other rate": r"(?:atrial|P[ -]wave|flutter) rate",
    "heart_rate": r"(?:ventricular |heart |pulse |sinus |average |mean )?rate(?! corrected)|pulse|(?-i:HR)",
    "qtcf": rf"QTc{_SPAN} ?\(?F(?:ridericia)?\)?(?![a-z]){_SPAN}",
    "qtc": rf"QTc{_SPAN} ?\(?B(?:azett)?\)?(?![a-z]){_SPAN}|QTc{_SPAN}|(?:rate-)?corrected QT{_SPAN}",
    "qt": rf"QT(?![a-z]){_SPAN}",
    "rr": rf"R-?R(?![a-z]){_SPAN}",
    "pr": rf"(?-i:P-?[RQ])(?![a-z]){_SPAN}",
    "st": r"(?-i:ST)(?:[ -]segments?)?(?![a-z])|(?-i:J)[ -]points?",
    "t": r"(?-i:T)[ -]waves?|(?-i:T)(?= inver)",
    "qrs": rf"QRS(?![a-z]){_SPAN}|complex(?= tachycardia)",
    "p": r"(?-i:P)[ -]waves?",
    "intervals": r"intervals",
    "rhythm": r"rhythm",
}
ADJECTIVES: Final[dict[str, str]] = {
    "irregular": r"irregular(?:ly irregular|ly|ity)?|var(?:y|ies|ying|iable)",
    "regular": r"regular(?:ly|ity)?|constant|equal|uniform",
    "normal": r"(?:within )?(?:the )?normal(?: limits| range)?(?! \d)|unremarkable|isoelectric",
    "borderline": r"borderline",
    "sinus": r"sinus",
    "long": r"prolong(?:ed|ation)|lengthen(?:ed|ing)|long",
    "short": r"short(?:ened|ening)?",
    "wide": r"wide(?:ned|ning)?|broad(?:ened)?",
    "narrow": r"narrow",
    "slow": r"slow",
    "fast": r"fast|rapid",
    "extreme": r"extreme(?:ly)?(?: right| left| deviation)?|northwest",
    "left": r"left(?:ward)?(?! ventric| atri| bundle| anter| poster| chest)|LAD(?= deviation)",
    "right": r"right(?:ward)?(?! ventric| atri| bundle| chest| precord)",
    "elevated": r"elevat(?:ions?|ed)",
    "depressed": r"depress(?:ions?|ed)",
    "inverted": r"inver(?:sions?|ted)|negative",
    "upright": r"upright|positive",
    "shape": (
        r"flat(?:tened|tening)?|biphasic|peaked|hyperacute|tall|notched|abnormal(?:ities|ity)?|changes?|deviations?"
    ),
    "present": (
        r"present|visible|precedes?|preceding|before (?:each|every|all)(?: QRS(?: complex(?:es)?)?)?|seen|identifiable"
        r"|discernible"
    ),
}
_TRIGGERS: Final[dict[str, str]] = {
    "unasserted": (
        r"(?:cannot|can't|can not|could not|not possible to) (?:be )?(?:entirely |completely )?"
        r"(?:rule[d]? out|exclude[d]?|confirm(?:ed)?|determine[d]?)|to (?:rule out|exclude)|rule out|r/o|history of"
        r"|if|would|typically|usually|previous(?:ly)?"
    ),
    "not": (
        r"no longer|no(?!,| \d+(?:[\s.,;:]|$))|not|(?:is|are|was|were|do|does|did)n't|without|absence of|absent"
        r"|lack(?:s|ing)?(?: of)?|free of|negative for|neither|nor|never|rather than|instead of|rul(?:es|ed|ing) out"
        r"|exclud(?:es|ed|ing)|nothing"
    ),
    "hedge": (
        r"possibl[ey]|probabl[ey]|likely|may(?: be| represent| indicate)?|might(?: be)?|could(?: be)?"
        r"|suggest(?:s|ing|ive)(?: of)?|consistent with|compatible with|suspicious for"
        r"|suspected|consider|questionable|perhaps|appears? to"
    ),
    "stop": r"but|however|although|though|except|while|whereas|with(?! normal limits)|yet|which|because|since",
}
_NUMBER = r"[+-]?(?:0,\d{2,3}|\d{1,4}(?:\.\d{1,3})?)"
NUMBER: Final = re.compile(
    rf"(?P<low>{_NUMBER})(?:\s?(?:-|to|and)\s?(?P<high>\d{{1,4}}(?:\.\d{{1,3}})?))?\s?"
    r"(?P<unit>ms\b|msec\b|milliseconds?\b|s\b|secs?\b|seconds?\b|bpm\b|(?:beats?|times)? ?(?:/|per) ?min(?:ute)?\b|°"
    r"|deg(?:rees?)?\b|mV\b|millivolts?\b|mm\b|millimet(?:er|re)s?\b|%)?",
    re.IGNORECASE,
)
GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "inferolateral": ("II", "III", "aVF", "I", "aVL", "V5", "V6"),
    "anteroseptal": ("V1", "V2", "V3", "V4"),
    "anterolateral": ("I", "aVL", "V3", "V4", "V5", "V6"),
    "high lateral": ("I", "aVL"),
    "inferior": ("II", "III", "aVF"),
    "lateral": ("I", "aVL", "V5", "V6"),
    "anterior": ("V1", "V2", "V3", "V4"),
    "septal": ("V1", "V2"),
    "right precordial": ("V1", "V2", "V3"),
    "left precordial": ("V4", "V5", "V6"),
    "precordial": ("V1", "V2", "V3", "V4", "V5", "V6"),
    "chest": ("V1", "V2", "V3", "V4", "V5", "V6"),
    "limb": ("I", "II", "III", "aVR", "aVL", "aVF"),
}
_LEAD = r"(?:V[1-9]R?|aV[RLF]|(?-i:I{1,3}))"
_UNIT = rf"(?:{_LEAD}(?![\w'])|(?:infero-?lateral|antero-?septal|antero-?lateral|{'|'.join(GROUPS)})(?:ly)?\b)"
LEADS: Final = re.compile(
    rf"{_UNIT}(?:(?: leads?)? ?(?:, ?and|, ?or|,|/|&|-|and|or|to|through) ?(?:the |leads? )?{_UNIT}){{0,14}}"
    r"(?: leads?)?",
    re.IGNORECASE,
)
_ORDER: Final[tuple[tuple[Type, dict[str, str]], ...]] = (
    ("finding", FINDINGS),
    ("name", NAMES),
    ("unasserted", {"": _TRIGGERS["unasserted"]}),
    ("not", {"": _TRIGGERS["not"]}),
    ("hedge", {"": _TRIGGERS["hedge"]}),
    ("adjective", ADJECTIVES),
    ("stop", {"": _TRIGGERS["stop"]}),
)
_MEANING: Final[list[tuple[Type, str]]] = [(kind, what) for kind, table in _ORDER for what in table]
_PHRASES: Final = re.compile(
    r"(?<!\w)(?:" + "|".join(f"({phrase})" for _, table in _ORDER for phrase in table.values()) + r")(?!\w)"
    rf"|(?<![\w.])(?P<leads>{LEADS.pattern})|(?<![\w.])(?P<number>{_NUMBER})",
    re.IGNORECASE,
)
_CLAUSE: Final = re.compile(r"[;\n]|[.!?](?=\s|$)")
LONGEST: Final = 1000  # characters of a clause: what looks back or on never looks further
_NOT_A_LEAD: Final = re.compile(r"(?:type|mobitz|class|grade|degree|stage|part|phase)\s?$", re.IGNORECASE)
_BEFORE_ONE: Final = re.compile(r"(?:leads?|in|and|,|of) ?$", re.IGNORECASE)


def plain(text: str) -> str:
    """`text` with typographic dashes, spaces and Markdown's marks replaced one for one."""
    return text.translate(_PLAIN)


def clauses(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each sentence, or part of one between semicolons and line ends."""
    start = 0
    ends = ((match.start(), match.end()) for match in _CLAUSE.finditer(text))
    for end, following in (*ends, (len(text), len(text))):
        for part in range(start, end, LONGEST):
            yield part, min(end, part + LONGEST)
        start = following


def words(text: str, start: int, end: int) -> list[Word]:
    """The words of text[start:end], `text` as `plain` gives it, in their order and without overlap."""
    found: list[Word] = []
    place = start
    while match := _PHRASES.search(text, place, end):
        begin, place = match.span()
        if match["number"] is not None:
            whole = NUMBER.match(text, begin, end)
            place = whole.end() if whole else place
            found.append(Word("number", "", begin, place))
        elif match["leads"] is not None:
            if _are_leads(text, begin, place):
                found.append(Word("leads", "", begin, place))
        elif match.lastindex is not None:
            kind, what = _MEANING[match.lastindex - 1]
            found.append(Word(kind, what, begin, place))
        place = max(place, begin + 1)
    return found


def _are_leads(text: str, start: int, end: int) -> bool:
    before = text[max(0, start - 12) : start]
    return not _NOT_A_LEAD.search(before) and (text[start:end] != "I" or _BEFORE_ONE.search(before) is not None)
