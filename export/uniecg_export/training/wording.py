"""The words and frames that `phrases` composes users' sentences from.

Entries are parted by " | " or a new line; one that stands twice is drawn twice as often. Slots: {v} and {g} a verb of
drawing and its gerund, {s} what is to be drawn, {d} the finding, {e} "an example", {a} rate and patient, {p} the
patient, {n} the rate, {y} the age, {this} the attached ECG, {f} and {b} a finding with and without article.
"""

from __future__ import annotations


def _split(text: str) -> tuple[str, ...]:
    """Entries of a text block: one a line, or several on a line parted by " | "."""
    return tuple(entry.strip() for line in text.strip().splitlines() for entry in line.split(" | ") if entry.strip())


_LABEL_BLOCK = """
NORM: normal ECG | normal electrocardiogram | healthy ECG | unremarkable ECG | normal tracing
NORM: ECG within normal limits
NORM: normal EKG | healthy tracing | ECG without abnormalities | entirely normal ECG
MI: myocardial infarction | heart attack | infarction | MI | infarct | signs of infarction | infarct pattern
STTC: ST-T change | ST-T changes | ST/T abnormality | repolarization abnormality | ST-T wave changes
STTC: abnormal repolarization | ST segment and T wave changes
CD: conduction disturbance | conduction abnormality | conduction defect | abnormal conduction | conduction disorder
CD: disturbed conduction | conduction delay or block
HYP: hypertrophy | cardiac hypertrophy | chamber hypertrophy | chamber enlargement | hypertrophic changes
HYP: hypertrophy of the heart | signs of hypertrophy
SR: sinus rhythm | regular sinus rhythm | SR | normal sinus rhythm | NSR | sinus node rhythm
AFIB: atrial fibrillation | AF | AFib | a-fib | auricular fibrillation | atrial fib | fibrillating atria
AFIB: fibrillation of the atria
AFLT: atrial flutter | flutter | AFL | auricular flutter | atrial flutter rhythm | flutter of the atria
AFLT: flutter waves
STACH: sinus tachycardia | sinus tach | fast sinus rhythm | rapid sinus rhythm | accelerated sinus rate
STACH: tachycardic sinus rhythm | sinus rhythm with a fast rate
SBRAD: sinus bradycardia | sinus brady | slow sinus rhythm | bradycardic sinus rhythm | slow sinus rate
SBRAD: sinus rhythm with a slow rate
SARRH: sinus arrhythmia | respiratory sinus arrhythmia | irregular sinus rhythm | sinus arrhythmia of breathing
SARRH: varying sinus rhythm | sinus irregularity
PACE: paced rhythm | pacemaker rhythm | pacing | ventricular pacing | artificial pacemaker rhythm | pacemaker spikes
PACE: electronic pacing | pacemaker activity
PVC: ventricular premature complexes | PVCs | premature ventricular contractions | ventricular extrasystoles
PVC: ventricular ectopic beats | ventricular premature beats | ventricular ectopy | VES | VPCs
PAC: atrial premature complexes | PACs | premature atrial contractions | atrial extrasystoles | atrial ectopic beats
PAC: atrial premature beats | atrial ectopy | supraventricular extrasystoles
LVH: left ventricular hypertrophy | LVH | LV hypertrophy | hypertrophy of the left ventricle
LVH: thickened left ventricle | left heart hypertrophy | voltage criteria for left ventricular hypertrophy
AMI: anterior myocardial infarction | anterior MI | anterior infarction | anterior wall infarction | anterior infarct
AMI: heart attack of the anterior wall | anterior wall MI
IMI: inferior myocardial infarction | inferior MI | inferior infarction | inferior wall infarction | inferior infarct
IMI: heart attack of the inferior wall | IMI | inferior wall MI
LMI: lateral myocardial infarction | lateral MI | lateral infarction | lateral wall infarction | lateral infarct
LMI: heart attack of the lateral wall | LMI | lateral wall MI
CLBBB: complete left bundle branch block | left bundle branch block | LBBB | complete LBBB | CLBBB
CLBBB: left bundle block | full left bundle branch block | complete block of the left bundle branch
CRBBB: complete right bundle branch block | right bundle branch block | RBBB | complete RBBB | CRBBB
CRBBB: right bundle block | full right bundle branch block | complete block of the right bundle branch
IRBBB: incomplete right bundle branch block | incomplete RBBB | IRBBB | partial right bundle branch block
IRBBB: incomplete right bundle block | partial RBBB | incomplete block of the right bundle branch
LAFB: left anterior fascicular block | LAFB | left anterior hemiblock | LAHB | left anterior fascicle block
LAFB: anterior fascicular block | block of the left anterior fascicle
AVB: first-degree AV block | first degree AV block | prolonged PR interval | long PR interval
AVB: first-degree heart block
AVB: first degree atrioventricular block | delayed AV conduction | PR prolongation
IVCD: non-specific intraventricular conduction disturbance | intraventricular conduction delay | IVCD
IVCD: nonspecific intraventricular block | intraventricular conduction disturbance | non-specific QRS widening
IVCD: intraventricular conduction defect
WPW: Wolff-Parkinson-White pattern | WPW | Wolff-Parkinson-White syndrome | WPW pattern | ventricular preexcitation
WPW: pre-excitation | delta wave | preexcitation with a delta wave
ISC: myocardial ischemia | ischemia | ischaemia | myocardial ischaemia | ischemic changes | cardiac ischemia
ISC: reduced blood flow to the heart muscle | ischemic ST-T changes
STD: ST depression | ST segment depression | ST-depression | depressed ST segments | lowered ST segment
STD: depression of the ST segment | ST sagging
LAE: left atrial enlargement | LAE | enlarged left atrium | left atrial overload | P mitrale | left atrial abnormality
LAE: dilated left atrium | left atrial hypertrophy
LVOLT: low QRS voltage | low voltage | low voltages | low-voltage QRS complexes | small QRS complexes
LVOLT: reduced QRS amplitude | low QRS amplitudes
LNGQT: long QT interval | long QT | prolonged QT interval | QT prolongation | prolonged QTc | lengthened QT interval
LNGQT: long QTc
INVT: T-wave inversion | inverted T waves | T inversion | negative T waves | T wave inversions | flipped T waves
INVT: TWI | inversion of the T wave
"""


def _labels() -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for line in _LABEL_BLOCK.strip().splitlines():
        label, _, words = line.partition(": ")
        table.setdefault(label, []).extend(words.split(" | "))
    return table


LABEL_TEXT: dict[str, list[str]] = _labels()
"""Words for each statement label; the first is the one used in reports."""

# Requests to draw.
VERBS = (
    (("draw", "drawing"), 10),
    (("generate", "generating"), 8),
    (("create", "creating"), 5),
    (("make", "making"), 4),
    (("produce", "producing"), 3),
    (("simulate", "simulating"), 4),
    (("synthesize", "synthesizing"), 3),
    (("synthesise", "synthesising"), 1),
    (("render", "rendering"), 2),
    (("sketch", "sketching"), 2),
    (("plot", "plotting"), 2),
    (("prepare", "preparing"), 2),
    (("construct", "constructing"), 1),
    (("build", "building"), 1),
    (("compose", "composing"), 1),
    (("output", "outputting"), 1),
    (("design", "designing"), 1),
    (("model", "modelling"), 1),
    (("print", "printing"), 1),
    (("write out", "writing out"), 1),
)
NOUNS = (
    ("ECG", 16), ("EKG", 5), ("12-lead ECG", 6), ("electrocardiogram", 4), ("tracing", 4), ("trace", 2), ("strip", 2),
    ("recording", 3), ("signal", 1), ("ECG signal", 2), ("sample", 1), ("ECG sample", 1), ("example", 2),
    ("ECG example", 1), ("record", 1), ("heart tracing", 1), ("waveform", 1), ("ECG waveform", 1), ("12-lead EKG", 1),
    ("twelve-lead ECG", 1), ("12 lead", 1), ("rhythm strip", 1), ("ECG tracing", 2), ("ECG recording", 2),
    ("ECG trace", 1), ("cardiogram", 1),
)  # fmt: skip
ADJECTIVES = _split("""
synthetic | simulated | typical | realistic | new | resting | clear | clean | textbook | artificial | fictional
plausible | short | random | convincing
""")
LINKS = _split("""
with | with | with | with | showing | showing | of | of | demonstrating | that shows | displaying | featuring
depicting | exhibiting | having | that has | for | illustrating | containing
""")
EXAMPLES = _split("""
an example of | a case of | a typical case of | one example of | a sample of | a picture of | a tracing of
a specimen of
some | a simulation of | an instance of | a new example of | another example of | a good example of
""")
ASK = _split("""
{v} {s} | {v} {s} | {v} {s} | {v} {s} | please {v} {s} | please {v} {s} | {v} {s}, please | {v} {s} please
could you {v} {s}? | can you {v} {s}? | would you {v} {s}? | could you please {v} {s}? | can you please {v} {s}?
will you {v} {s} for me? | would you mind {g} {s}? | I'd like you to {v} {s} | I want you to {v} {s} | kindly {v} {s}
I need you to {v} {s} | go ahead and {v} {s} | now {v} {s} | next, {v} {s} | hey, {v} {s} | hi, can you {v} {s}?
hello, please {v} {s} | try to {v} {s} | try {g} {s} | let's {v} {s} | your task: {v} {s} | is it possible to {v} {s}?
are you able to {v} {s}? | I was wondering if you could {v} {s} | how about {g} {s}? | quickly {v} {s} | just {v} {s}
help me {v} {s} | what about {g} {s}? | I would like you to {v} {s} | do me a favour and {v} {s} | then {v} {s}
it would be nice if you could {v} {s} | can you try to {v} {s}? | could you possibly {v} {s}? | ok, {v} {s}
thanks, now {v} {s} | {v} me {s} | {v} {s} for me | from scratch, {v} {s} | no signal here, just {v} {s}
also {v} {s}
forget the attached one and {v} {s} | I'd appreciate it if you could {v} {s} | would it be possible to {v} {s}?
""")
GET = _split("""
give me {s} | give me {s} | show me {s} | show me {s} | I need {s} | I need {s} | I want {s} | I'd like {s}
I would like {s} | let me see {s} | let me have {s} | can I have {s}? | can I get {s}? | could I see {s}? | get me {s}
may I have {s}? | may I see {s}? | I'm looking for {s} | I would like to see {s} | I'd love to see {s} | we need {s}
please provide {s} | {s}, please | wanted: {s} | send me {s} | what I need is {s} | all I want is {s}
I could use {s}
it would be great to have {s} | can you show me {s}? | could you give me {s}? | please give me {s}
please show me {s}
could you provide {s}? | come up with {s} | request: {s} | can you come up with {s}? | we would like to have {s}
do you have {s} for me? | could we get {s}? | can we see {s}? | I wish to see {s} | deliver {s} | can you give me {s}?
is there a chance to get {s}? | I am after {s} | put together {s} | can you put together {s}? | invent {s}
make up {s}
how about {s}? | next I need {s} | now give me {s} | now show me {s}
""")
STORY = _split("""
I'm teaching {d} tomorrow, so {v} {e}{a} | we discuss {d} in class: {v} {e}{a} | I've never seen {d}, show me {e}{a}
show me what {d} {looks} like{a} | can you show me what {d} {looks} like{a}? | I want to see what {d} {looks} like{a}
show me how {d} {looks}{a} | let me see how {d} {looks} on the ECG{a} | my topic is {d}: please {v} {e}{a}
{v} {e}{a}; the finding should be {d} | {v} {e}{a}. It should show {d} | {v} {e}{a} and make sure it shows {d}
for a quiz about {d} I need {e}{a} | diagnosis: {d}. {v} {e}{a} | {d}: {v} {e}{a} | {d} please, {v} {e}{a}
I'd like {e}{a}, and it should have {d} | let's pretend the patient has {d}: {v} the ECG{a} | {d}. {v} it{a}
suppose the diagnosis is {d}, {v} the matching ECG{a} | which ECG goes with {d}? {v} it{a}
{v} what {d} {looks} like{a}
what would you draw for {d}{a}? Show me | we talk about {d}, can you {v} {e}{a}?
{v} {e}{a} that a doctor would read as {d}
{v} {e}{a} whose interpretation is {d} | I need {e} to explain{a}, the diagnosis is {d}
{v} {e}{a} with this report: {d}
turn this description into an ECG: {d}{a} | here is the report, {v} the ECG for it: {d}{a} | text to ECG: {d}{a}
make the ECG belonging to this report: {d}{a} | {v} {e}{a}. Findings: {d} | {v} {e}{a} from this description: {d}
""")
CASE = _split("""
for {p}, {v} {s} | for {p} I need {s} | imagine {p} with {d}; {v} the ECG | take {p} with {d} and {v} the tracing
{p} has {d}; {v} the ECG | {p} with {d}: {v} an ECG | {v} the ECG of {p} with {d} | {v} an ECG for {p} who has {d}
{p} comes in with {d}, {v} the tracing | what would the ECG of {p} with {d} look like? {v} it | {v} {p}'s ECG with {d}
show me the ECG of {p} with {d} | show me an ECG from {p} who has {d}
think of {p} with {d} and {v} the heart tracing
consider {p} suffering from {d}: {v} the 12-lead ECG | the patient is {p}. {v} {s} | {p}: {s}, please
{p}, {d}, {v} it
pretend you recorded {p} with {d}, {v} that recording | {v}: {p}, {d} | case: {p}, {d}. {v} the ECG
""")
TERSE_HEADS = _split("""
draw | draw: | generate | generate: | ECG: | ECG | ecg please: | create | simulate | simulate: | draw ECG
generate ECG:
make ECG | make | new ECG: | sample ECG: | example: | draw one: | show | synthetic ECG: | plot | EKG: | produce:
need ECG
""")
TERSE_TAILS = _split("""
draw | draw it | draw please | generate | generate it | , draw | , please draw | , generate | - draw | , simulate
ECG please
, make one | , show me | , draw ECG | -> ECG | , ecg | , create it | , synthetic ECG | , example please
""")
PURPOSES = _split("""
for teaching | for my students | as a demo | for a lecture | for a quiz | to practise on
so I can practise reading it
for my slides | to explain it to my class | to test my interpretation | for an exam | for a textbook figure
for my course
so that I can describe it to my team | for testing my software | for a presentation | to show to the residents
for fun
for a report I am writing | as an example | for a demonstration | to train nurses | for a simulation scenario
for study
that I can interpret myself | for me to analyse | for my notes | to compare with my own | for a workshop | as practice
for the medical students | as a test case | for research | so my students can make a diagnosis | for self-study
""")
RATE_AFTER = _split("""
at {n} bpm | at {n} bpm | at {n} beats per minute | at {n}/min | at a rate of {n} | at a heart rate of {n}
with a heart rate of {n} | with a rate of {n}/min | with a heart rate of {n} bpm | with HR {n} | with heart rate {n}
with a ventricular rate of {n} | running at {n} bpm | beating {n} times a minute | at about {n} bpm | at rate {n}
@ {n}
with a pulse of {n} | with {n} beats per minute | and a heart rate of {n} | with a ventricular rate of {n} bpm
at {n}
, heart rate {n} | , rate {n} | , HR {n} | , {n} bpm | , ventricular rate {n} | , heart rate of {n} bpm | , rate: {n}
""")
RATE_TAG = _split("""
heart rate {n} | heart rate {n} bpm | HR {n} | HR {n} bpm | {n} bpm | {n} bpm | {n}bpm | {n}/min | {n} / min
rate {n}
rate {n}/min | rate of {n}/min | rate of {n} | ventricular rate {n} | ventricular rate {n} beats per minute | HR: {n}
{n} beats per minute | {n} beats/min | pulse {n} | HR={n} | heart rate: {n} | at {n} | at {n} bpm | hr of {n}
freq {n}/min
""")
SEX_NOUNS = {
    "male": _split("man | man | male | male patient | gentleman | male person | male adult"),
    "female": _split("woman | woman | female | female patient | lady | female person | female adult"),
}
CHILD_NOUNS = {"male": ("boy", "male child", "male patient"), "female": ("girl", "female child", "female patient")}
SEX_TAGS = {
    "male": _split("male | male | male | man | m | sex male | sex: male | male sex | gender male | male patient | M"),
    "female": _split("""
female | female | female | woman | f
sex female | sex: female | female sex | female patient | F
"""),
}
ANYONE = _split("patient | patient | person | subject | individual | adult")
PERSON_AGED = _split("""
{y}-year-old {who} | {y}-year-old {who} | {y}-year-old {who} | {y} year old {who} | {y} y/o {who} | {who} of {y}
{who} of {y} years | {who} aged {y} | {who} who is {y} | {who} aged {y} years | {y} yo {who}
""")
BOTH_TAGS = _split("""
{sex}, {y} years | {sex} {y}y | {sex}, {y} | {sex} {y} | {y}-year-old {sex} | {y} year old {sex} | {y}y {sex}
{sex} aged {y}
age {y}, {sex} | {sex}, age {y} | {sex}, aged {y} | {y}, {sex} | {sex}, {y} years old | age {y} {sex} | {y} yo {sex}
sex {sex}, age {y} | age: {y}, sex: {sex} | {sex} patient, {y} years | {sex} {y} yrs | {y} years, {sex}
sex={sex} age={y}
""")
AGE_TAGS = _split("""
age {y} | aged {y} | {y} years | {y} years old | {y}y | {y} yo | {y}-year-old patient | patient of {y} | age: {y}
{y} yrs
patient aged {y} | {y} y/o
""")
# Requests to explain, and questions.

THIS = _split("""
this ECG | this ECG | this ECG | this ECG | this EKG | the ECG | the attached ECG | this tracing | the tracing
this recording
the attached recording | this electrocardiogram | this trace | this heart tracing | this 12-lead ECG | this signal
my ECG
the attached tracing | the recording | this strip | the ECG above | this patient's ECG | the loaded recording
the open ECG
this heart recording | this record | the given ECG | the current recording
""")
STUDY = _split("""
interpret | interpret | explain | explain | describe | read | analyse | analyze | assess | evaluate | review
report on
summarise | summarize | comment on | look at | go through | check | examine | judge | appraise | classify | diagnose
""")
REPORTS = _split("""
a report | a report | a short report | an interpretation | a summary | a written report | a description
an assessment
a diagnosis | a reading | an analysis | a brief summary | a clinical report | a conclusion | an explanation
a finding list
a list of findings | a one-paragraph report | an ECG report | a verdict
""")
REPORT_VERBS = _split("""
write | write | make | make | produce | produce | generate | generate | create | create | prepare | compose | draft
give me
build | output | provide | print | put together | show me | formulate
""")
FINDINGS = _split("""
the findings | the main findings | the abnormalities | the key findings | the rhythm and the findings | the results
the diagnosis | the conclusions | your impression | the abnormal findings
""")
EXPLAIN_STUDY = _split("""
{study} {this} | {study} {this} | {study} {this} | please {study} {this} | {study} {this}, please
{study} {this} for me
could you {study} {this}? | can you {study} {this}? | can you {study} {this} for me? | would you {study} {this}?
I'd like you to {study} {this} | I need you to {study} {this} | I want you to {study} {this} | help me {study} {this}
please {study} {this} briefly | {study} {this} in plain words | {study} {this} in detail | {study} {this} in short
{study} {this} step by step | {study} {this} and tell me what is wrong | {study} {this} like a cardiologist would
{study} {this} for a layperson | {study} {this} and draw a conclusion | now {study} {this} | {study} it
""")
EXPLAIN_REPORT = _split("""
{make} {report} of {this} | {make} {report} for {this} | write a report on {this} | make a report on {this}
{make} {report} from {this}
please {make} {report} of {this} | could you {make} {report} for {this}? | can you {make} {report} of {this}?
I'd like you to {make} {report} of {this} | {make} {report} | {make} {report} of what you see in {this}
I need {report} of {this} | I want {report} for {this} | I'd like {report} of {this} | may I have {report} of {this}?
{make} {report} based on {this} | using {this}, {make} {report} | from {this}, {make} {report}
let me see {report} of {this}
look at {this} and {make} {report} | let me have {report} for {this} | help me write {report} for {this}
can I get {report} of {this}? | {report} of {this}, please | {make} {report} describing {this}
now {make} {report} for {this}
""")
EXPLAIN_CONFUSABLE = _split("""
draw a conclusion from {this} | draw your conclusions from {this} | what conclusion do you draw from {this}?
what can be drawn from {this}? | can you draw a conclusion from {this}? | what conclusions can you draw?
draw up a report
draw up a report of {this} | draw up the findings of {this} | draw my attention to anything abnormal in {this}
what would you make of {this}? | what do you make of {this}? | what do you make of it? | make sense of {this} for me
make a diagnosis from {this} | make the diagnosis | make a statement about {this} | create text describing {this}
generate text for {this} | generate the findings for {this} | generate a diagnosis | generate an interpretation
produce the report | produce the findings | produce a diagnosis from {this} | create the report
sketch out the findings
sketch what is going on in {this} in words | outline {findings} in {this} | show me what is abnormal here
show me what is wrong in {this} | show me {findings} | show me {findings} of {this} | give me {findings} of {this}
give me {findings} | give me the diagnosis | give me your opinion on {this} | give me your reading
give me a second opinion
let me see what {this} means | let me know what {this} shows | I need {findings} of {this}
I want to know what {this} shows
I'd like to understand {this} | I'd like to know {findings} | I need to know what this is
I want an explanation of {this}
don't draw anything, {study} {this} | no drawing, just {study} {this} | put {this} into words
turn {this} into a report
turn {this} into text | convert {this} to words | ECG to text please | tell me the story of {this}
show your reading of {this}
someone drew {this}, what does it show? | who could make sense of {this}? {study} it
construct a diagnosis from {this}
build a differential from {this} | compose the findings of {this} | prepare the report
plot aside, what does {this} mean?
""")
EXPLAIN_ASK = _split("""
what does {this} show? | what does {this} show? | what does {this} mean? | what does {this} tell us? | what is this?
what do you see in {this}? | what do you see? | what can you see here? | what is going on in {this}? | what's this?
what is wrong with {this}? | what's wrong with this heart? | what's wrong here? | is this normal?
is everything ok here?
is anything abnormal in {this}? | is anything wrong with {this}? | is {this} ok? | does {this} look alright?
all good?
do you notice anything unusual in {this}? | what is the diagnosis? | what's the diagnosis?
what would your diagnosis be?
what are the findings? | what are the findings in {this}? | what is your interpretation? | how would you read {this}?
how do you interpret {this}? | how would you describe {this}? | what does the heart do here? | what is happening here?
what is your impression of {this}? | what's your read? | any abnormality? | any findings?
anything I should know about {this}?
anything worth noting in {this}? | should I worry about {this}? | is my heart ok? | how does my heart look?
how does {this} look? | how does {this} look to you? | what stands out in {this}?
which abnormalities does {this} show?
which findings are present in {this}? | which diagnosis fits {this}? | what would a cardiologist say about {this}?
tell me about {this} | tell me what you see | tell me what {this} shows | tell me what's wrong | tell me {findings}
tell me {findings} of {this} | read this for me | read it | describe what you see in the leads | describe {findings}
describe {findings} in {this} | describe the rhythm and morphology | summarise {findings}
summarize {findings} in {this}
list {findings} | list {findings} in {this} | name {findings} | state the diagnosis | findings? | diagnosis?
interpretation?
interpretation please | report please | your report please | ECG report | report | reading? | full interpretation
quick read of {this} please | a quick look at {this}, please | I don't understand {this}, please explain
explain please
I can't read {this}, what does it say? | what's in {this}? | what am I looking at? | what am I looking at here?
walk me through {this} | talk me through {this} | thoughts on {this}? | your thoughts? | opinion?
what rhythm and findings are here?
the doctor sent me {this}, what does it mean? | I just recorded {this}. What does it show?
here is an ECG. What is it?
here is a recording, {study} it | attached is an ECG, {study} it please | see attached, please interpret
pls interpret
explain in simple words what {this} shows | explain the waveform to me | explain what the heart is doing
help me understand {this}
""")
EXPLAIN_CASE = _split("""
this is the ECG of {p}. {q} | {p}: {q} | ECG of {p}: {q} | the patient is {p}. {q} | {p} with chest pain. {q}
{p} with palpitations. {q} | {p}, short of breath. {q} | recorded from {p}: {q} | {p} before surgery. {q}
follow-up of {p}. {q}
{p}, routine check. {q} | this was recorded from {p} after fainting. {q} | {p} with dizziness: {q}
""")
YES_NO = _split("""
is there {f}? | is there {f}? | is there {f} in {this}? | does {this} show {f}? | does {this} show {f}?
any sign of {f}?
any signs of {f}? | any {b}? | any evidence of {f}? | any {b} here? | do you see {f}? | do you see {f} in {this}?
{b}?
can you see {f}? | can you see any {b}? | can {f} be seen? | can you find {f} in {this}? | is {f} present?
is {f} present in {this}?
does the patient have {f}? | does this patient have {f}? | has {this} got {f}? | does it show {f}?
is {f} visible in {this}?
are there signs of {f}? | are there signs of {f} in {this}? | is there evidence of {f}? | is there any sign of {f}?
is there any {b} in {this}? | could this be {f}? | might this be {f}? | is this {f}? | would you say this is {f}?
{b} yes or no?
do I have {f}? | do you think there is {f}? | do you detect {f}? | do you recognise {f} in {this}?
check {this} for {f}
check for {f} | look for {f} | look for {f} in {this} | tell me whether there is {f} | tell me if {this} shows {f}
is {this} consistent with {f}? | does {this} suggest {f}? | does {this} indicate {f}? | do the leads show {f}?
{b} or not?
I suspect {f}. Am I right? | I wonder if there is {f} here | yes or no: {f}? | is it {f}? | does this look like {f}?
would you diagnose {f}? | should {f} be reported? | can we call this {f}? | is {f} likely here? | what about {f}?
""")
YES_NO_RECORD = _split("""
is this {f}? | is this {f}? | would you call this {f}? | does this look like {f}? | is it {f}? | do we have {f} here?
is that {f}? | would you say this is {f}? | could this pass as {f}? | can we call this {f}? | am I looking at {f}?
{b}?
do you consider this {f}? | is the attached one {f}? | yes or no: {f}? | would you report {f}? | {b} or not?
{b}, yes or no?
is what I attached {f}? | do you think this is {f}? | can this be called {f}? | might this be {f}?
tell me if this is {f}
tell me whether this is {f} | I think this is {f}. Am I right? | would a cardiologist call this {f}?
does this count as {f}?
have I got {f}? | should this be reported as {f}? | is the recording {f}? | check whether this is {f}
""")
MEASURE_NAMES = {
    "heart_rate": _split("the heart rate | the heart rate | the rate | the ventricular rate | the pulse rate | the HR"),
    "pr": _split("the PR interval | the PR interval | the PR | the PR time | the PQ interval | the PR duration"),
    "qrs": _split("""
the QRS duration | the QRS duration | the QRS width
the QRS | the QRS time | the duration of the QRS
"""),
    "qt": _split("the QT interval | the QT interval | the QT | the QT time | the QT duration | the uncorrected QT"),
    "qtc": _split("""
the QTc | the QTc | the corrected QT
the corrected QT interval | the QTc interval | the rate-corrected QT
"""),
    "axis": _split("""
the axis | the axis | the electrical axis
the QRS axis | the heart axis | the frontal axis | the cardiac axis
"""),
}
MEASURE = _split("""
what is {m}? | what is {m}? | what's {m}? | what is {m} in {this}? | tell me {m} | give me {m} | measure {m} | {b}?
{b} please
what is {m} here? | can you measure {m}? | could you tell me {m}? | I need {m} | please measure {m} in {this}
value of {b}?
what do you measure for {m}? | what value does {m} have? | report {m} | read off {m} | how much is {m}?
determine {m}
calculate {m} | I'd like to know {m} | show me {m} | which value do you get for {m}? | work out {m} | and {m}?
only {m} please
""")
MEASURE_OWN = {
    "heart_rate": _split("""
how fast is the heart beating? | how fast is the heart? | how many beats per minute? | how many bpm? | bpm?
what's the pulse?
how fast is the rhythm? | at what rate does the heart beat? | how quickly does the heart beat in {this}?
heart rate in bpm?
how many times a minute does the heart beat? | what is the frequency of the heart? | how fast does my heart go?
"""),
    "pr": _split("""
how long is the PR interval? | how long is the PR? | how long does AV conduction take? | PR in milliseconds?
PR in ms?
how many milliseconds is the PR interval? | how long from P wave to QRS? | what is the time from P to QRS?
length of the PR?
"""),
    "qrs": _split("""
how wide is the QRS? | how wide are the QRS complexes? | how long does the QRS last? | how broad is the QRS complex?
QRS in ms?
how many milliseconds is the QRS? | how long does ventricular depolarization take?
width of the QRS complex in {this}?
"""),
    "qt": _split("""
how long is the QT interval? | how long is the QT? | QT in milliseconds? | how many milliseconds is the QT interval?
QT in ms?
how long from the start of the QRS to the end of the T wave? | how long is QT in {this}? | length of the QT interval?
"""),
    "qtc": _split("""
how long is the QTc? | how long is the corrected QT? | QTc in milliseconds? | how many milliseconds is the QTc?
QTc by Bazett?
what is the QT corrected for heart rate? | how long is the QT after rate correction? | how long is QTc in {this}?
"""),
    "axis": _split("""
where does the axis point? | where does the heart axis point? | how many degrees is the axis? | axis in degrees?
which axis?
what direction is the QRS axis? | in which direction does the electrical axis point?
what angle does the axis have in {this}?
"""),
}
