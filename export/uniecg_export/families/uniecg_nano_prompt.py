"""What uniecg-nano's text looks like: its labels, special tokens, prompt and generation settings.

Training and export both read it here, so the manifest says exactly what the model was trained on.
"""

from __future__ import annotations

from uniecg_device.signals import INDEPENDENT_LEADS, LEADS
from uniecg_export.families.uniecg_nano import NanoConfig
from uniecg_runtime.manifest import Feature, Generation, Preprocessing, Prompt, Statement, Statements

# PTB-XL's own codes; `AMI` ... `LMI`, `LAFB`, `LAE`, `ISC` stand for their diagnostic subclass.
LABELS: dict[str, str] = {
    "NORM": "normal ECG",
    "MI": "myocardial infarction",
    "STTC": "ST-T change",
    "CD": "conduction disturbance",
    "HYP": "hypertrophy",
    "SR": "sinus rhythm",
    "AFIB": "atrial fibrillation",
    "AFLT": "atrial flutter",
    "STACH": "sinus tachycardia",
    "SBRAD": "sinus bradycardia",
    "SARRH": "sinus arrhythmia",
    "PACE": "paced rhythm",
    "PVC": "ventricular premature complexes",
    "PAC": "atrial premature complexes",
    "LVH": "left ventricular hypertrophy",
    "AMI": "anterior myocardial infarction",
    "IMI": "inferior myocardial infarction",
    "LMI": "lateral myocardial infarction",
    "CLBBB": "complete left bundle branch block",
    "CRBBB": "complete right bundle branch block",
    "IRBBB": "incomplete right bundle branch block",
    "LAFB": "left anterior fascicular block",
    "AVB": "first-degree AV block",
    "IVCD": "non-specific intraventricular conduction disturbance",
    "WPW": "Wolff-Parkinson-White pattern",
    "ISC": "myocardial ischemia",
    "STD": "ST depression",
    "LAE": "left atrial enlargement",
    "LVOLT": "low QRS voltage",
    "LNGQT": "long QT interval",
    "INVT": "T-wave inversion",
}
SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
PAD, BOS, EOS = "<pad>", "<s>", "</s>"
USER, ASSISTANT, ECG_OPEN, ECG_CLOSE = "<|user|>", "<|assistant|>", "<|ecg|>", "<|/ecg|>"
ECG, YES, NO = "[ECG]", "<|yes|>", "<|no|>"
QUESTION = "Interpret this ECG."
DRAW_PREFIX = "Drawing:"
FINDINGS = ("ST elevation", "ST depression", "T inversion", "Q wave", "low voltage", "tall R")
FEATURES = (
    Feature(name="heart_rate", label="HR"),
    Feature(name="pr", label="PR"),
    Feature(name="qrs", label="QRS"),
    Feature(name="qt", label="QT"),
    Feature(name="qtc", label="QTc"),
    Feature(name="axis", label="axis"),
    Feature(name="rr_sd", label="RRSD"),
)


def statement_token(label: str) -> str:
    """The special token that asks about a label."""
    return f"<|stmt:{label}|>"


SPECIAL_TOKENS = (
    *(PAD, BOS, EOS, USER, ASSISTANT, ECG_OPEN, ECG_CLOSE, ECG, YES, NO),
    *(statement_token(label) for label in LABELS),
)

PROMPT = Prompt(
    first_turn_with_signal=f"{BOS}{USER}{{question}}{ECG_OPEN}{{signal}}{ECG_CLOSE}{{measurements}}{ASSISTANT}",
    first_turn=f"{BOS}{USER}{{question}}{ASSISTANT}",
    next_turn=f"{EOS}{USER}{{question}}{ASSISTANT}",
    interpret_question=QUESTION,
    features=FEATURES,
    findings=FINDINGS,
    draw_prefix=DRAW_PREFIX,
    end_token=EOS,
    context=1024,
    max_new_tokens=256,
)


def preprocessing(config: NanoConfig) -> Preprocessing:
    """The manifest's preprocessing, from the checkpoint's geometry."""
    return Preprocessing(
        fs=config.fs,
        samples=config.samples,
        leads=LEADS,
        highpass_hz=config.highpass_hz,
        lowpass_hz=config.lowpass_hz,
        reference_mv=config.reference_mv,
        min_seconds=5.0,
        missing_lead="derive_then_zero",
    )


def prompt_and_statements(config: NanoConfig) -> tuple[Prompt, Statements, Generation]:
    """The manifest's text side, from the checkpoint's configuration."""
    items = tuple(Statement(label=n, description=LABELS[n], token=statement_token(n)) for n in config.labels)
    generation = Generation(
        token=ECG,
        token_count=config.ecg_tokens,
        scalars=("sex", "sex_known", "age", "age_known", "heart_rate", "heart_rate_known"),
        latent_shape=(config.latent_channels, config.latent_length),
        sampler="rectified_flow",
        solver="euler",
        steps=config.steps,
        guidance=config.guidance,
        fs=config.fs,
        leads=INDEPENDENT_LEADS,
    )
    return PROMPT, Statements(yes_token=YES, no_token=NO, items=items), generation
