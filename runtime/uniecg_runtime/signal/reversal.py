"""Swapped limb electrodes and a turned sign, found in the usual beat.

Swapping RA, LA and LL permutes three potentials: leads I and II change by a known 2 x 2 matrix, the chest leads not at
all, for their reference is the mean of the three. So every arrangement can be undone, and the question becomes which
of the undone ECGs looks most like one that was connected rightly. That likeness is linear in features of the limb
vector (I and the perpendicular to it) during P, QRS and T: its direction, its turning, and how it goes with each chest
lead. Shape alone is used: every wave is brought to one size, so that the scale of the chest leads is not needed.
The weights are those of a conditional logit (McFadden 1974) over the arrangements, fitted to records as they are:
`uniecg_export.training.signal_reversal` prints them. That leads and chest leads foretell each other is the idea of
Kors and van Herpen (J Electrocardiol 2001); that the P wave tells LA-LL, of Abdollah and Milliken (1997).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from uniecg_runtime.signal.measure import limb_scales
from uniecg_runtime.signal.reversal_weights import LIMB_ALONE, ONE_LEAD, WITH_CHEST
from uniecg_runtime.signal.work_signal import WORK_HZ, WorkSignal

# By arrangement: what takes I and II as labelled to I and II as they should be, and whether all leads are negated.
AS_LABELLED = "as labelled"
UNDO: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {
    AS_LABELLED: ((1, 0), (0, 1)),
    "RA-LA": ((-1, 0), (-1, 1)),
    "RA-LL": ((1, -1), (0, -1)),
    "LA-LL": ((0, 1), (1, 0)),
    "RA-LA-LL": ((0, -1), (1, -1)),  # RA's cable on the left arm, LA's on the leg, LL's on the right arm
    "RA-LL-LA": ((-1, 1), (-1, 0)),  # RA's cable on the leg, LA's on the right arm, LL's on the left arm
    "inverted": ((-1, 0), (0, -1)),
}
ARRANGEMENTS = tuple(UNDO)
# A leg's potential is the same for RL and LL: an arm's cable changed with RL leaves one limb lead without a signal.
WITHOUT_SIGNAL = {"I": "RA-RL and LA-LL", "II": "RA-RL", "III": "LA-RL"}
CHEST = ("V1", "V2", "V3", "V4", "V5", "V6")
LIMB = ("I", "II", "III")
UPRIGHT = ("I", "II", "V4", "V5", "V6")  # alone, each of these tells a turned sign
BEFORE, AFTER = 50, 75  # samples of the usual beat: 0.4 s before the QRS and 0.6 s after it
WAVES = ((19, 43), (43, 60), (62, 103))  # samples of P, QRS and T in it
QRS = slice(*WAVES[1])
LEAST_BEATS = 3
LEAST_RR = 0.4  # s; in a faster rhythm one beat's T lies in the next one's P
DOUBT = 0.05  # probability of the labels, all arrangements taken as equally likely before, under which a swap is told
DOUBT_WITHOUT_CHEST = 0.02  # more is needed where limb leads alone speak: as many false alarms as with the chest
EMPTY = 0.1  # size of a limb lead against the largest one; of 3,000 recordings one had less


@dataclass(frozen=True)
class Reversal:
    """kind: the electrodes that seem swapped ("RA-LA"), or "inverted" where every lead's sign seems turned.

    probability: of that arrangement among all, taken as equally likely before. why: one line for a person.
    """

    kind: str
    probability: float
    why: str

    @property
    def warning(self) -> str:
        """What to tell a reader first."""
        seems = "every sign may be turned" if self.kind == "inverted" else f"the electrodes {self.kind} may be swapped"
        return f"{seems} ({self.probability:.0%}): {self.why}"


@dataclass(frozen=True, eq=False)
class UsualBeat:
    """limb: (2, BEFORE + AFTER), I and II up to one scale. chest: (6, ...), or None where a chest lead is missing.

    noise: standard error of the limb leads, in their unit.
    """

    limb: NDArray[np.float64]
    chest: NDArray[np.float64] | None
    noise: float


def find_reversal(work: WorkSignal, usable: Collection[str]) -> Reversal | None:
    """The swap that the leads out of `usable` speak for; None for none, or where it cannot be judged.

    Needs two of I, II and III (standardised: all three), three beats, and a rate of 150/min or less. With all chest
    leads the answer is much surer than without. Of fewer limb leads only a turned sign can be told, by those of
    `UPRIGHT`.
    """
    beat = usual_beat(work, usable)
    if beat is None:
        return _find_inversion(work, usable)
    if (empty := empty_lead(beat)) is not None:
        kind = WITHOUT_SIGNAL[empty]
        return Reversal(kind, 1.0 - DOUBT, f"lead {empty} has almost no signal, as with {kind} swapped")
    weights, doubt = (LIMB_ALONE, DOUBT_WITHOUT_CHEST) if beat.chest is None else (WITH_CHEST, DOUBT)
    likely = probabilities(features(beat) @ weights)
    best = int(np.argmax(likely))
    if likely[0] >= doubt:
        return None
    kind = ARRANGEMENTS[best]
    if kind == "inverted":
        return Reversal(kind, float(likely[best]), "P, QRS and T look as they do with every lead's sign turned")
    by = "the limb leads" if beat.chest is None else "limb and chest leads"
    return Reversal(kind, float(likely[best]), f"P, QRS and T of {by} agree better with {kind} swapped back")


def usual_beat(work: WorkSignal, usable: Collection[str]) -> UsualBeat | None:
    """The median beat; None where the limb leads, beats or rate do not allow one."""
    rows = _limb(work, usable)
    if rows is None:
        return None
    with_chest = set(CHEST) <= set(usable)
    if with_chest:
        rows = np.concatenate([rows, work.signal[[work.leads.index(lead) for lead in CHEST]]])
    found = _median(rows, work)
    if found is None or not found[0][:2, QRS].any():
        return None
    shape, noise = found
    return UsualBeat(shape[:2], shape[2:] if with_chest else None, float(noise[:2].mean()))


def lead_features(work: WorkSignal, lead: str) -> NDArray[np.float64] | None:
    """(9,) of one lead, all of which change sign with it: of P, QRS and T the mean, the sum of the extremes, and second
    half less first. None without a usual beat."""
    found = _median(work.signal[[work.leads.index(lead)]], work)
    if found is None or not found[0][0, QRS].any():
        return None
    (row,), (noise,) = found
    columns: list[float] = []
    for wave, (first, last) in enumerate(WAVES):
        part = (_start if wave == 1 else _line)(row[None, first:last])
        part = part[0] / np.sqrt((part**2).mean() + _least_power(noise, np.sqrt((row[QRS] ** 2).mean())))
        half = part.size // 2
        columns += [part.mean(), part.max() + part.min(), part[half:].mean() - part[:half].mean()]
    return np.array(columns)


def empty_lead(beat: UsualBeat) -> str | None:
    """The limb lead that has less than `EMPTY` of the largest one's size."""
    i, ii = beat.limb
    sizes = np.stack([i, ii, ii - i]).std(axis=1)
    smallest = int(np.argmin(sizes))
    return LIMB[smallest] if sizes[smallest] < EMPTY * sizes.max() else None


def features(beat: UsualBeat) -> NDArray[np.float64]:
    """(arrangements, features) with each arrangement undone: 30 of the limb leads, then 36 with the chest."""
    undone = np.array(list(UNDO.values()), dtype=np.float64) @ beat.limb
    x, y = undone[:, 0], (2 * undone[:, 1] - undone[:, 0]) / np.sqrt(3)
    sign = np.where(np.array(ARRANGEMENTS) == "inverted", -1.0, 1.0)[:, None, None]
    size = float(np.sqrt((x[0, QRS] ** 2 + y[0, QRS] ** 2).mean()))
    limb, chest, net = [], [], []
    for wave, (first, last) in enumerate(WAVES):
        level = _start if wave == 1 else _line
        xs, ys = level(x[:, first:last]), level(y[:, first:last])
        power = (xs**2 + ys**2).mean(axis=1) + _least_power(beat.noise, size)
        xs, ys = xs / np.sqrt(power)[:, None], ys / np.sqrt(power)[:, None]
        net.append(np.stack([xs.mean(axis=1), ys.mean(axis=1)]))
        limb.append(_of_limb(xs, ys, *net[-1]))
        if beat.chest is not None:
            part = level(beat.chest[:, first:last])
            around = np.sqrt((beat.chest[:, QRS] ** 2).mean(axis=1))
            part = part / (np.sqrt((part**2).mean(axis=1)) + 0.03 * around + 1e-9)[:, None]
            chest.append(np.stack([xs, ys], axis=1) @ (sign * part).transpose(0, 2, 1) / xs.shape[1])
    turns = [a[0] * b[1] - a[1] * b[0] for a, b in ((net[0], net[1]), (net[1], net[2]), (net[0], net[2]))]
    columns = [*limb, np.stack(turns, axis=1), *(part.reshape(len(ARRANGEMENTS), -1) for part in chest)]
    return np.concatenate(columns, axis=1)


def probabilities(likeness: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each arrangement, from its likeness to an ECG that is connected rightly."""
    odds = np.exp(likeness - likeness.max())
    return np.asarray(odds / odds.sum())


def _find_inversion(work: WorkSignal, usable: Collection[str]) -> Reversal | None:
    """Whether the leads of `UPRIGHT` look like themselves turned over, on the mean of what each says."""
    rows = [features for lead in UPRIGHT if lead in usable if (features := lead_features(work, lead)) is not None]
    if not rows:
        return None
    likeness = float(np.mean(np.stack(rows) @ ONE_LEAD))
    likely = probabilities(np.array([likeness, -likeness]))
    if likely[0] >= DOUBT:
        return None
    return Reversal("inverted", float(likely[1]), "P, QRS and T look as they do with the sign turned")


def _median(rows: NDArray[np.float32], work: WorkSignal) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """The median beat of each row and its standard error; None for too few beats, or too fast ones."""
    if work.beats.size < LEAST_BEATS or float(np.median(np.diff(work.beats))) < LEAST_RR * WORK_HZ:
        return None
    around = replace(work, signal=rows).around_beats(BEFORE, AFTER).astype(np.float64)
    if around.shape[1] < LEAST_BEATS:
        return None
    around -= np.median(around, axis=2, keepdims=True)
    shape = np.median(around, axis=1)
    spread = np.median(np.abs(around - shape[:, None]), axis=1).mean(axis=1)
    return shape, spread * 1.4826 * 1.25 / np.sqrt(around.shape[1])


def _least_power(noise: float, qrs: float) -> float:
    """Added to a wave's power before it is brought to one size, so that noise is not blown up to a wave."""
    return (2 * noise) ** 2 + (0.01 * qrs) ** 2


def _of_limb(
    xs: NDArray[np.float64], ys: NDArray[np.float64], mx: NDArray[np.float64], my: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(arrangements, 9): mean vector, its direction doubled and tripled, second half less first, area of the loop."""
    mean = mx + 1j * my
    size = np.abs(mean) + 1e-9
    double, triple = mean**2 / size, mean**3 / size**2
    half = xs.shape[1] // 2
    change = [rows[:, half:].mean(axis=1) - rows[:, :half].mean(axis=1) for rows in (xs, ys)]
    loop = (xs[:, :-1] * np.diff(ys, axis=1) - ys[:, :-1] * np.diff(xs, axis=1)).mean(axis=1)
    return np.stack([mx, my, double.real, double.imag, triple.real, triple.imag, *change, loop], axis=1)


def _line(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows less the line from their first to their last four samples."""
    rise = np.linspace(0.0, 1.0, rows.shape[1])
    first, last = rows[:, :4].mean(axis=1, keepdims=True), rows[:, -4:].mean(axis=1, keepdims=True)
    return np.asarray(rows - first * (1 - rise) - last * rise)


def _start(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows less their first two samples."""
    return np.asarray(rows - rows[:, :2].mean(axis=1, keepdims=True))


def _limb(work: WorkSignal, usable: Collection[str]) -> NDArray[np.float32] | None:
    """I and II at one scale, from any two of the limb leads."""
    held = {lead: work.signal[work.leads.index(lead)] for lead in LIMB if lead in usable}
    if work.units != "mV":
        scales = limb_scales(work.signal, work.leads) if len(held) == 3 else None
        return None if scales is None else np.stack([held["I"], held["II"]]) * scales[:2, None].astype(np.float32)
    if len(held) < 2:
        return None
    if "I" not in held:
        held["I"] = held["II"] - held["III"]
    if "II" not in held:
        held["II"] = held["I"] + held["III"]
    return np.stack([held["I"], held["II"]])
