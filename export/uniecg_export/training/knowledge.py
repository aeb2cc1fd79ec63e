"""General ECG knowledge and talk about the assistant itself, in question and answer form.

A block of `_TEXT` is one item: lines that start with "?" hold its questions, parted by " | ", lines that start with
"=" its answer. "{x}" marks a term: "? {the PR interval}" stands for several ways to ask what it is.
"""

from __future__ import annotations

# Several ways to ask what a term is; items take turns. The measured quantities do not use them: with a recording open,
# "what is the PR interval?" asks for its value.
_DEFINITIONS = (
    ("what is {x}?", "explain {x}", "what does {x} mean?", "tell me about {x}", "define {x}"),
    ("what is {x}?", "what is meant by {x}?", "can you explain {x} to me?", "tell me what {x} is", "describe {x}"),
    ("what's {x}?", "what is {x}?", "could you explain {x}?", "what do doctors mean by {x}?", "please define {x}"),
    ("what is {x} in an ECG?", "what exactly is {x}?", "please explain {x}", "what is {x}?", "{x}, what is it?"),
)

_TEXT = """
? explain the PR interval | what does the PR interval mean? | define the PR interval
? what is meant by the PR interval? | what exactly is the PR interval? | what does the PR interval measure?
? which interval shows conduction through the AV node?
= The PR interval runs from the start of the P wave to the start of the QRS. It shows how long conduction from the
= atria to the ventricles takes.
? what is a normal PR interval? | normal PR range | how long should the PR interval be? | normal values for PR
? is a PR of 240 ms too long? | what PR interval is normal in adults?
= A normal PR interval lasts 120 to 200 ms.
? {the QRS complex} | what does the QRS complex show? | which part of the ECG is ventricular depolarization?
= The QRS complex is the depolarization of the ventricles, the signal that makes them contract.
? what is a normal QRS duration? | normal QRS width | how wide should the QRS be? | normal range of the QRS
? when is the QRS too wide? | from which duration is a QRS broad?
= A normal QRS lasts up to about 110 ms. From 120 ms on it is called wide.
? explain the QT interval | what does the QT interval mean? | define the QT interval
? what is meant by the QT interval? | what exactly is the QT interval? | what does the QT interval measure?
? where does the QT interval start and end?
= The QT interval runs from the start of the QRS to the end of the T wave: ventricular depolarization and
= repolarization together.
? explain the QTc | what does the QTc mean? | define the QTc
? what is meant by the QTc? | what exactly is the QTc? | why is the QT corrected? | why do we need a corrected QT?
? what is the difference between QT and QTc?
= The QT gets shorter as the heart beats faster. The QTc is the QT corrected to a heart rate of 60.
? what is a normal QTc? | normal range of the QTc | when is the QTc too long? | how long may the QTc be?
? from what value is the QTc prolonged?
= A QTc up to about 450 ms in men and 460 ms in women is normal. Above 500 ms it is clearly prolonged.
? {Bazett's formula} | how is the QTc calculated? | how do I compute the QTc? | formula for the QTc
= Bazett's formula divides the QT by the square root of the RR interval in seconds.
? {Fridericia's formula} | is there an alternative to Bazett? | which QT correction is better at fast rates?
= Fridericia's formula divides the QT by the cube root of the RR interval. It distorts less at fast and slow rates.
? {the P wave} | what does the P wave show? | which wave is atrial depolarization? | what makes the P wave?
= The P wave is the depolarization of the atria. It comes before each QRS in sinus rhythm.
? {the T wave} | what does the T wave show? | which wave is ventricular repolarization?
? where does the T wave come from?
= The T wave is the repolarization of the ventricles, their recovery after each beat.
? {the U wave} | what does a U wave mean? | which wave follows the T wave? | when do U waves appear?
= The U wave is a small wave after the T wave. It is often normal and grows when potassium is low.
? {the ST segment} | what does the ST segment show? | which segment lies between QRS and T wave?
= The ST segment lies between the end of the QRS and the T wave. It is normally level with the baseline.
? {the J point} | where is the J point? | where does the QRS end? | where is ST deviation measured?
= The J point is where the QRS ends and the ST segment begins.
? {a Q wave} | what is a pathological Q wave? | when is a Q wave abnormal? | what do deep Q waves mean?
= A Q wave is a first downward deflection of the QRS. Wide or deep ones can be the trace of an old infarction.
? {the R wave} | which deflection of the QRS points up? | what does the R wave show?
= The R wave is the first upward deflection of the QRS complex.
? {the S wave} | which deflection follows the R wave? | what does the S wave show?
= The S wave is the downward deflection after the R wave.
? {the RR interval} | how far apart are two beats? | what is the distance between two R waves? | what does RR mean?
= The RR interval is the time from one R wave to the next. The heart rate is 60 divided by it in seconds.
? {an ECG} | what is an electrocardiogram? | what does an ECG record? | what is an EKG? | what does an EKG measure?
= An ECG records the electrical activity of the heart through electrodes on the skin.
? is an EKG the same as an ECG? | what is the difference between ECG and EKG? | ECG or EKG? | why is it called EKG?
= They are the same. EKG comes from the German spelling, Elektrokardiogramm.
? how does an ECG work? | how is an ECG recorded? | how do you take an ECG? | how is an ECG done?
= Electrodes on the skin pick up small voltages of the heart. The device amplifies them and plots them over time.
? does an ECG hurt? | is an ECG dangerous? | is an ECG safe? | does recording an ECG hurt?
= An ECG is painless and harmless: it only picks up the heart's voltage and sends no current into the body.
? who invented the ECG? | who developed the electrocardiogram? | history of the ECG | when was the ECG invented?
= Willem Einthoven developed the practical electrocardiogram around 1900 and won the Nobel Prize for it in 1924.
? {a 12-lead ECG} | why does an ECG have 12 leads? | which leads belong to a 12-lead ECG? | how many leads are there?
= A 12-lead ECG looks at the heart from twelve directions: six limb leads and six chest leads.
? how many electrodes does a 12-lead ECG need? | how many electrodes are used? | number of electrodes for 12 leads
? why ten electrodes for twelve leads?
= Ten electrodes: four on the limbs and six on the chest. The twelve leads are computed from them.
? {the limb leads} | which are the limb leads? | name the limb leads | which leads are on the arms and legs?
= The limb leads are I, II, III, aVR, aVL and aVF. They view the heart in the frontal plane.
? {the chest leads} | which are the chest leads? | what are the precordial leads? | name the precordial leads
= The chest leads are V1 to V6. They view the heart in the horizontal plane.
? {the augmented leads} | what are aVR, aVL and aVF? | which leads are augmented? | how are aVR, aVL and aVF computed?
= The augmented leads aVR, aVL and aVF compare one limb electrode with the mean of the other two.
? {Einthoven's law} | how are leads I, II and III related? | how can lead III be computed?
? is lead II the sum of I and III?
= Einthoven's law says that lead II is the sum of leads I and III.
? {Wilson's central terminal} | what is the reference of the chest leads? | what is the reference for V1 to V6?
= Wilson's central terminal is the mean of the three limb electrodes and the reference of the chest leads.
? what does lead V1 look at? | what does V1 show? | which part of the heart does V1 see? | where is V1 placed?
? where does the V1 electrode go?
= V1 sits right of the breastbone in the fourth intercostal space and looks at the septum and the right ventricle.
? what does lead V6 look at? | what does V6 show? | which wall does V6 see? | where is V6 placed?
= V6 sits on the left side in the midaxillary line and looks at the lateral wall of the left ventricle.
? what does lead II look at? | why is lead II used for the rhythm? | which lead is best for the rhythm?
? what does II show?
= Lead II looks at the inferior wall. It often shows the P wave best, so it is used for the rhythm.
? what does lead aVR look at? | what does aVR show? | why is aVR upside down? | why is aVR negative?
= aVR looks at the heart from the right shoulder, so its waves normally point down.
? what does lead aVL look at? | what does aVL show? | which wall does aVL see? | where does aVL look from?
= aVL looks from the left shoulder at the high lateral wall.
? which leads see the inferior wall? | what are the inferior leads? | inferior leads?
? where do I look for an inferior infarct?
= The inferior leads are II, III and aVF.
? which leads see the lateral wall? | what are the lateral leads? | lateral leads?
? where do I look for a lateral infarct?
= The lateral leads are I, aVL, V5 and V6.
? which leads see the anterior wall? | what are the anterior leads? | anterior leads?
? where do I look for an anterior infarct?
= The anterior leads are V3 and V4, with V1 and V2 over the septum.
? which leads see the septum? | what are the septal leads? | septal leads? | what do V1 and V2 show?
= The septal leads are V1 and V2.
? which artery supplies the inferior wall? | which vessel is blocked in an inferior infarct?
? artery of the inferior wall
? which coronary artery causes inferior infarction?
= Mostly the right coronary artery, in some people the circumflex artery.
? which artery supplies the anterior wall? | which vessel is blocked in an anterior infarct?
? artery of the anterior wall
? which coronary artery causes anterior infarction?
= The left anterior descending artery.
? explain the electrical axis | what does the electrical axis mean? | define the electrical axis
? what is meant by the electrical axis? | what exactly is the electrical axis? | what does the QRS axis show?
= The axis is the mean direction of the ventricles' depolarization in the frontal plane, in degrees.
? how is the axis determined? | how do I find the axis? | how do you compute the heart axis?
? which leads give the axis?
= Compare the net QRS in leads I and aVF: both positive means a normal axis. The angle follows from their ratio.
? what is a normal axis? | normal range of the axis | which axis is normal?
? how many degrees are normal for the axis?
= A normal axis lies between -30 and +90 degrees.
? {left axis deviation} | what causes left axis deviation? | when does the axis turn left? | reasons for a left axis
= Left axis deviation means an axis beyond -30 degrees. Left anterior fascicular block is a common cause.
? {right axis deviation} | what causes right axis deviation? | when does the axis turn right?
? reasons for a right axis
= Right axis deviation means an axis beyond +90 degrees, as in right ventricular strain or in slim young people.
? what is a normal heart rate? | normal heart rate range | how fast should the heart beat? | which pulse is normal?
? normal resting pulse in adults?
= At rest an adult heart normally beats 60 to 100 times a minute.
? how do I compute the heart rate from an ECG? | how is the heart rate calculated? | how do I count the heart rate?
? how do you get the rate from an ECG?
= Divide 60 by the RR interval in seconds. In an irregular rhythm, count the beats in 10 seconds and multiply by 6.
? {bradycardia} | when is a heart rate too slow? | below which rate is it bradycardia?
? what is a slow heart rate called?
= Bradycardia is a heart rate below 60 beats per minute. In trained people it is often normal.
? {tachycardia} | when is a heart rate too fast? | above which rate is it tachycardia?
? what is a fast heart rate called?
= Tachycardia is a heart rate above 100 beats per minute.
? {sinus rhythm} | how do I recognise sinus rhythm? | what is the normal rhythm of the heart?
? criteria for sinus rhythm
= Sinus rhythm is the normal rhythm: the sinus node leads, and an upright P wave in lead II comes before every QRS.
? {the sinus node} | what is the heart's natural pacemaker? | where does the heartbeat start?
? where is the sinus node?
= The sinus node in the right atrium is the heart's natural pacemaker. Each normal beat starts there.
? {the AV node} | what does the AV node do? | where is the AV node? | why does the AV node delay the impulse?
= The AV node passes the impulse from the atria to the ventricles and delays it, so that the ventricles can fill.
? {the bundle of His} | what does the bundle of His do? | what comes after the AV node? | where is the His bundle?
= The bundle of His carries the impulse from the AV node to the two bundle branches.
? {the Purkinje fibres} | what do Purkinje fibres do? | what spreads the impulse in the ventricles?
= The Purkinje fibres spread the impulse quickly through the ventricles.
? how does the impulse travel through the heart? | what is the conduction system? | describe the conduction system
? which way does the heart's signal take?
= From the sinus node through the atria to the AV node, then the bundle of His, the bundle branches and the
= ventricles.
? {sinus arrhythmia} | is sinus arrhythmia dangerous? | why does the pulse change with breathing?
= Sinus arrhythmia is a sinus rhythm whose rate changes, mostly with breathing. It is normal in young people.
? {sinus tachycardia} | what causes sinus tachycardia? | is sinus tachycardia dangerous?
= Sinus tachycardia is sinus rhythm above 100 per minute. Exercise, fever, pain and anxiety are common causes.
? {sinus bradycardia} | what causes sinus bradycardia? | is sinus bradycardia dangerous?
= Sinus bradycardia is sinus rhythm below 60 per minute. Sleep, training and some drugs cause it.
? {atrial fibrillation} | how do I recognise atrial fibrillation? | what does atrial fibrillation look like on an ECG?
? ECG signs of AF
= In atrial fibrillation the atria fire without order: there are no P waves and the beats come irregularly.
? why is atrial fibrillation dangerous? | is AF dangerous? | what are the risks of atrial fibrillation? | risk of AF?
= Clots can form in the fibrillating atria and cause a stroke. A fast rate can also weaken the heart.
? what causes atrial fibrillation? | why do people get AF? | reasons for atrial fibrillation | risk factors for AF
= Age, high blood pressure, valve disease, heart failure, an overactive thyroid and alcohol are common causes.
? how is atrial fibrillation treated? | what is done about AF? | treatment of AF | therapy of atrial fibrillation
= Doctors control the rate or the rhythm and often give anticoagulants against stroke.
? {atrial flutter} | how do I recognise atrial flutter? | what does atrial flutter look like? | ECG signs of flutter
= In atrial flutter the atria beat regularly at about 300 per minute, seen as sawtooth waves in II, III and aVF.
? what is the difference between flutter and fibrillation? | AF versus flutter
? how do flutter and fibrillation differ?
? flutter or fibrillation, how can I tell?
= Flutter has regular sawtooth waves; fibrillation has no regular atrial waves and an irregular pulse.
? {an extrasystole} | what is an ectopic beat? | what is a premature beat? | why does my heart skip a beat?
= An extrasystole is a beat that comes too early, from outside the sinus node. Often a pause follows.
? {a ventricular premature complex} | what is a PVC? | how do I recognise a PVC? | what does a PVC look like?
= A ventricular premature complex is an early, wide QRS without a P wave before it, that starts in a ventricle.
? {an atrial premature complex} | what is a PAC? | how do I recognise a PAC? | what does a PAC look like?
= An atrial premature complex is an early beat from the atria: an odd P wave, then mostly a narrow QRS.
? are extrasystoles dangerous? | are PVCs harmful? | should I worry about extra beats? | are premature beats bad?
= Single extra beats are common and mostly harmless. Many of them, or symptoms, are a reason to see a doctor.
? {bigeminy} | what is trigeminy? | what does bigeminy look like?
? when every second beat is a PVC, what is it called?
= In bigeminy every second beat is premature, in trigeminy every third.
? {a compensatory pause} | why is there a pause after a PVC? | what follows a premature beat?
= It is the longer gap after a premature beat, until the next regular sinus beat comes.
? {ventricular tachycardia} | how do I recognise ventricular tachycardia? | what is VT? | is VT dangerous?
= Ventricular tachycardia is a fast rhythm of wide beats from the ventricles. It is an emergency.
? {ventricular fibrillation} | what is VF? | what does ventricular fibrillation look like? | is VF deadly?
= In ventricular fibrillation the ventricles only quiver and pump no blood. It needs an immediate shock.
? {supraventricular tachycardia} | what is SVT? | how do I recognise SVT? | what does SVT look like?
= A supraventricular tachycardia is a fast, mostly regular rhythm from above the ventricles, usually with narrow QRS.
? {torsade de pointes} | which arrhythmia follows a long QT? | why is torsade dangerous?
= Torsade de pointes is a ventricular tachycardia that twists around the baseline. A long QT favours it.
? {asystole} | what does a flat line mean? | what is a flatline? | why would an ECG be flat?
= Asystole is a heart without electrical activity. A flat line can also be a loose electrode, so check it first.
? {a paced rhythm} | how do I recognise a pacemaker on the ECG? | what does a pacemaker look like?
? what are pacing spikes?
= In a paced rhythm a pacemaker starts the beats: thin spikes before P waves or before wide QRS complexes.
? {a pacemaker} | what does a pacemaker do? | why does somebody need a pacemaker? | when is a pacemaker used?
= A pacemaker is an implanted device that stimulates the heart when its own rhythm is too slow.
? {an AV block} | what types of AV block exist? | how many degrees of AV block are there? | what is heart block?
= In AV block the impulse from the atria reaches the ventricles late, only sometimes, or not at all: degrees 1, 2, 3.
? {first-degree AV block} | how do I recognise first-degree AV block? | is first-degree AV block dangerous?
= In first-degree AV block the PR interval is longer than 200 ms, but every beat is conducted. It is mostly harmless.
? {second-degree AV block} | what is Wenckebach? | what is a Mobitz block? | what are Mobitz I and II?
= In second-degree AV block some P waves have no QRS. In Wenckebach the PR grows first, in Mobitz II it does not.
? {third-degree AV block} | what is complete heart block? | what is AV dissociation?
? is complete heart block dangerous?
= In complete heart block no impulse reaches the ventricles; P waves and QRS run apart. It often needs a pacemaker.
? {a bundle branch block} | what happens in bundle branch block? | which bundle branch blocks exist?
= In bundle branch block one ventricle is activated late, so the QRS becomes wide.
? {left bundle branch block} | how do I recognise LBBB? | what does LBBB look like? | criteria for LBBB
= In left bundle branch block the QRS is 120 ms or more, deep in V1 and broad and notched in I and V6.
? {right bundle branch block} | how do I recognise RBBB? | what does RBBB look like? | criteria for RBBB
= In right bundle branch block the QRS is 120 ms or more, with an rSR' in V1 and a wide S in I and V6.
? {incomplete right bundle branch block} | how do I recognise incomplete RBBB? | is incomplete RBBB harmless?
= It has the shape of right bundle branch block, but a QRS below 120 ms. It is often harmless.
? {left anterior fascicular block} | how do I recognise LAFB? | what is left anterior hemiblock? | criteria for LAFB
= In left anterior fascicular block the axis turns far left: small Q in aVL and deep S in II, III and aVF.
? {a non-specific intraventricular conduction disturbance} | what is IVCD? | when is a wide QRS non-specific?
= A wide QRS that fits neither left nor right bundle branch block.
? what causes a wide QRS? | why is a QRS broad? | reasons for a wide QRS | causes of QRS widening
= Bundle branch block, beats from the ventricles, pacing, preexcitation, high potassium and some drugs.
? {the Wolff-Parkinson-White pattern} | what is WPW? | how do I recognise WPW? | criteria for WPW
= In WPW an extra pathway bypasses the AV node: a short PR, a delta wave and a wide QRS.
? {a delta wave} | what causes a delta wave? | where do I see a delta wave? | which wave belongs to WPW?
= A delta wave is a slurred start of the QRS, when part of a ventricle is excited early. It is typical of WPW.
? what causes a short PR interval? | why is the PR short? | reasons for a short PR | when is the PR too short?
= A PR below 120 ms is short. An extra pathway as in WPW, or a rhythm from near the AV node, can cause it.
? {myocardial infarction} | what is a heart attack? | what happens in a heart attack? | what is an infarct?
= In a myocardial infarction a blocked coronary artery lets a part of the heart muscle die.
? how does an infarction show on the ECG? | ECG signs of a heart attack | how do I recognise an infarct?
? what does an MI look like?
= First ST elevation in the leads over the injured wall, later Q waves and inverted T waves.
? {a STEMI} | what does STEMI stand for? | how do I recognise a STEMI? | why is a STEMI urgent?
= A STEMI is an infarction with ST elevation. The vessel must be opened quickly.
? {an NSTEMI} | what does NSTEMI stand for? | can there be an infarct without ST elevation? | STEMI versus NSTEMI
= An NSTEMI is an infarction without ST elevation. A blood test, troponin, shows it.
? can an ECG miss a heart attack? | does a normal ECG rule out a heart attack?
? is a normal ECG proof of a healthy heart?
? can I have a heart attack with a normal ECG?
= A normal ECG does not rule out a heart attack: an early or small one may not show. With chest pain, call for help.
? {ST elevation} | what causes ST elevation? | when is ST elevated? | what does a raised ST segment mean?
= ST elevation is an ST segment above the baseline. Infarction, pericarditis and normal variants can cause it.
? {ST depression} | what causes ST depression? | when is ST depressed? | what does a lowered ST segment mean?
= ST depression is an ST segment below the baseline. Ischemia, hypertrophy and digoxin are common causes.
? {T-wave inversion} | what causes T-wave inversion? | when is a negative T wave abnormal?
? what do inverted T waves mean?
= An inverted T wave points down where it should point up. Ischemia, strain and old infarcts are common causes.
? where may the T wave be negative? | in which leads is T inversion normal? | can inverted T waves be normal?
? is a negative T in aVR normal?
= A negative T wave is normal in aVR and often in V1 and III.
? what causes tall T waves? | why are T waves peaked? | what do tall T waves mean? | reasons for peaked T waves
= High potassium or the first minutes of an infarction.
? {ST-T change} | what are non-specific ST-T changes? | what does repolarization abnormality mean?
= ST-T change means an ST segment or T wave that is not as it should be. Many conditions cause it.
? {myocardial ischemia} | what does ischemia look like on the ECG? | what is lack of blood in the heart muscle?
= Ischemia means that the heart muscle gets too little blood. ST depression and T inversion can show it.
? {angina} | why does the chest hurt in heart disease? | what is angina pectoris? | what is stable angina?
= Angina is chest pain from too little blood flow to the heart muscle, often on exertion.
? {pericarditis} | how does pericarditis show on the ECG? | what does pericarditis look like?
= Pericarditis is an inflammation around the heart. Many leads show ST elevation, often with a lowered PR segment.
? {hypertrophy} | what is a thick heart muscle? | why does heart muscle grow thick? | what causes hypertrophy?
= Hypertrophy means thickened heart muscle, mostly from working against high pressure.
? {left ventricular hypertrophy} | how do I recognise LVH? | what does LVH look like? | what causes LVH?
= The left ventricle is thickened, often by high blood pressure: tall R waves in V5 and V6, deep S waves in V1.
? {the Sokolow-Lyon index} | how is LVH measured on the ECG? | voltage criterion for LVH | formula for LVH
= The Sokolow-Lyon index adds S in V1 and R in V5 or V6. From 3.5 mV on it suggests left ventricular hypertrophy.
? {right ventricular hypertrophy} | how do I recognise RVH? | what does RVH look like? | what causes RVH?
= The right ventricle is thickened: a tall R in V1 and a right axis. Lung disease is a common cause.
? {left atrial enlargement} | how do I recognise LAE? | what is P mitrale? | what does a wide P wave mean?
= An enlarged left atrium gives a wide, notched P wave in II and a deep negative part of P in V1.
? {right atrial enlargement} | what is P pulmonale? | what does a tall P wave mean? | how do I recognise RAE?
= An enlarged right atrium gives a tall, pointed P wave in lead II, above 0.25 mV.
? {low QRS voltage} | what causes low voltage? | when is the voltage low? | why are the QRS complexes small?
= QRS below 0.5 mV in all limb leads, or 1 mV in the chest leads. Fluid, fat or air around the heart can cause it.
? {a long QT interval} | what is long QT syndrome? | why is a long QT dangerous? | risk of a long QT
= A long QT means slow repolarization. It can lead to dangerous ventricular arrhythmia.
? what causes a long QT? | why is the QT long? | reasons for QT prolongation | which drugs prolong the QT?
= Some drugs, low potassium, calcium or magnesium, ischemia and inherited syndromes.
? {a short QT interval} | what causes a short QT? | why is the QT short? | reasons for a short QT
= A short QT can come from high calcium, digoxin or a rare inherited syndrome.
? {Brugada syndrome} | what does Brugada look like? | how do I recognise Brugada? | is Brugada dangerous?
= Brugada syndrome is an inherited disease with a coved ST elevation in V1 and V2 and a risk of sudden death.
? {R-wave progression} | what is poor R progression? | how should R grow across the chest leads?
? when is R progression poor?
= From V1 to V6 the R wave normally grows and S shrinks. Poor progression can mean an old anterior infarct.
? {early repolarization} | is early repolarization harmless? | what is a normal variant of ST elevation?
= Early repolarization is a slight ST elevation with a notched J point, mostly harmless in young people.
? what does high potassium do to the ECG? | ECG in hyperkalemia | {hyperkalemia} | signs of high potassium
= High potassium gives tall, narrow T waves, then flat P waves and a wide QRS. It is an emergency.
? what does low potassium do to the ECG? | ECG in hypokalemia | {hypokalemia} | signs of low potassium
= Low potassium gives flat T waves, U waves and ST depression.
? what does digoxin do to the ECG? | {digoxin effect} | how do I recognise digoxin on an ECG?
? what does digitalis do?
= Digoxin gives sagging ST segments and a shorter QT.
? how does pulmonary embolism show on the ECG? | ECG signs of lung embolism | what is S1Q3T3?
? ECG in pulmonary embolism
= Often only a fast sinus rhythm. Right-sided strain, such as S in I with Q and negative T in III, can appear.
? {an arrhythmia} | what is an irregular heartbeat? | which arrhythmias exist? | what is a rhythm disorder?
= An arrhythmia is a heart rhythm that is too fast, too slow or irregular.
? {a conduction disturbance} | what goes wrong in a conduction disturbance? | which conduction disturbances exist?
= The electrical impulse is delayed or blocked on its way, as in AV block or bundle branch block.
? {depolarization} | what happens electrically when muscle contracts? | how is a heart cell excited?
= Depolarization is the electrical discharge of heart cells that makes them contract.
? {repolarization} | how do heart cells recover? | what happens after depolarization?
? which waves show repolarization?
= Repolarization is the electrical recovery of heart cells. The ST segment and the T wave show it.
? {a normal ECG} | what does a normal ECG look like? | what belongs to a normal ECG? | criteria for a normal ECG
= Sinus rhythm at 60 to 100, normal intervals and axis, level ST segments and upright T waves in most leads.
? how do I read an ECG? | how do I learn ECG? | in which order do you read an ECG? | steps of reading an ECG
? how does one analyse an ECG?
= Go in order: rate, rhythm, axis, P waves, PR, QRS, ST segment, T waves and QT.
? how fast does ECG paper run? | what is the paper speed? | what does 25 mm/s mean? | usual paper speed
= Mostly 25 mm per second: a small square is 40 ms, a large square 200 ms.
? what does 10 mm/mV mean? | how high is one millivolt? | what is the gain of an ECG? | usual ECG gain
= At 10 mm/mV one millivolt is ten small squares, or 1 cm, high.
? {an artifact} | what causes noise in an ECG? | why is my ECG noisy? | reasons for a bad signal
= An artifact is a signal that is not from the heart: movement, muscle tremor, loose electrodes or mains hum.
? how can I get a cleaner ECG? | how do I improve the signal? | how do I reduce noise? | tips for a good recording
= Clean dry skin, fresh electrodes, a warm and relaxed patient, and cables away from mains power.
? {baseline wander} | why does the baseline move? | what causes a drifting baseline? | why is the ECG drifting?
= Baseline wander is a slow drift of the signal, mostly from breathing or poor contact.
? {mains hum} | why is there 50 Hz in my ECG? | what is power line interference? | where does 60 Hz noise come from?
= It is interference from the power line at 50 or 60 Hz, a fine regular ripple on the signal.
? what happens if electrodes are swapped? | how do I recognise swapped arm leads? | what is lead reversal?
? lead I is upside down, why?
= Swapped arm electrodes turn lead I upside down and exchange II with III. Check the cables and record again.
? {a Holter ECG} | what is a long-term ECG? | how long is a Holter recording? | why record 24 hours?
= A Holter records the ECG for a day or longer, to catch rhythms that come and go.
? {an exercise ECG} | what is a stress test? | why record an ECG during exercise? | what does a stress ECG show?
= An exercise ECG is recorded under effort, to find ischemia or arrhythmia that rest does not show.
? {a single-lead ECG} | what can a smartwatch ECG show? | is one lead enough? | what can one lead tell?
= One lead shows rate and rhythm well, but it cannot locate ischemia or an infarction.
? {heart rate variability} | what is HRV? | why do beat intervals vary? | what does HRV tell?
= Heart rate variability is how much the time between beats changes. It reflects the autonomic nervous system.
? {the sampling rate} | what does 500 Hz mean for an ECG? | how often is an ECG sampled?
? which sampling rate is good?
= The sampling rate is how many values a second are stored. 250 to 500 Hz is usual for an ECG.
? is the ECG different in women? | do men and women differ on the ECG? | how does sex change the ECG?
? sex differences of the ECG
= Women have a slightly faster rate and a longer QTc, men a higher QRS voltage.
? does age change the ECG? | how does the ECG change with age? | ECG in old people | age and the ECG
= With age PR and QRS get a little longer, the axis moves left, and arrhythmias become more common.
? is the ECG of children different? | ECG in children | what is normal in a child's ECG?
? how fast is a child's heart?
= Children have a faster rate, shorter intervals and more right-sided forces than adults.
? what is an athlete's ECG? | ECG in athletes | which changes does sport cause? | how does training change the ECG?
= Trained people often have a slow sinus rhythm, high voltage and a slightly long PR, without disease.
? when should I see a doctor? | when is it an emergency? | I have chest pain, what should I do?
? I feel faint, what now?
? my chest hurts
= With chest pain, fainting or short breath call the emergency number at once. I cannot judge an emergency.
? hello | hi | hey | good morning | good evening | hi there | hello assistant | greetings
= Hello. Open an ECG and ask me about it, or ask me to draw one.
? thank you | thanks | thanks a lot | many thanks | thank you very much | great, thanks | perfect, thank you
= You are welcome.
? goodbye | bye | see you | that is all | see you later | bye bye | I am done
= Goodbye.
? how are you? | how are you doing? | how do you feel? | are you well? | everything fine with you?
= I am a program and ready to work. What shall I look at?
? what can you do? | what are you able to do? | how can you help me? | what are you good for? | help
? which tasks can you do?
? what can I ask you?
= I explain an ECG that you open, answer questions about it, and draw synthetic ECGs from a description.
? who are you? | what are you? | what is your name? | introduce yourself | what is uniecg? | are you a chatbot?
= I am uniecg-nano, a small language model that explains and draws ECGs.
? who made you? | who built you? | where do you come from? | who is your developer? | who trained you?
= I come from the open project uniecg-edge and was trained from scratch on public ECG data.
? are you a doctor? | are you a cardiologist? | do you replace a doctor? | do you have a medical degree?
? are you human?
= No. I am a program, and a doctor must confirm what I say.
? is this a medical device? | are you certified? | may I use this on patients? | are you approved for clinical use?
? can I use you for diagnosis?
= No. This is for research use; it is not a medical device and its results are unconfirmed.
? can I trust you? | how accurate are you? | do you make mistakes? | how reliable are your answers?
? are you always right?
= I make mistakes, and my results are unconfirmed. Let a doctor check them.
? do you need the internet? | do you work offline? | does my data leave the computer? | is my ECG uploaded?
? where is my data?
= I run offline on this computer. Recordings stay here.
? how large are you? | how big is your model? | how many parameters do you have? | are you a large language model?
= I have a few million parameters, small enough for a laptop without a GPU.
? how do I open a recording? | how do I load an ECG? | how can I give you an ECG? | how do I attach a recording?
= Open a recording file or connect a device, then ask your question.
? how do I ask for a drawing? | how can I get a synthetic ECG? | what can I specify for a drawing?
? how do drawings work?
= Name the finding and, if you like, heart rate, sex and age. For example: atrial fibrillation, 110 bpm, male, 70.
? can you draw ECGs? | are you able to generate ECGs? | do you make synthetic ECGs? | which ECGs can you draw?
= I draw synthetic ECGs. Tell me the finding and, if you like, the heart rate, sex and age.
? are your drawings real? | are the drawn ECGs from real patients? | is a generated ECG real? | whose ECG do you draw?
= My drawings are synthetic, marked so, and belong to no patient.
? what is a synthetic ECG? | why make synthetic ECGs? | what are generated ECGs good for? | use of synthetic ECGs
= A synthetic ECG is computed, not recorded. It serves for teaching, demos and tests.
? which findings do you know? | what can you detect? | which diagnoses can you make? | what do you recognise?
= Rhythms, infarction, ischemia and ST-T change, conduction blocks, hypertrophy, premature beats and a few more.
? which languages do you speak? | do you speak German? | can you answer in French? | do you understand Spanish?
= I only understand English.
? what do you measure? | which measurements do you give? | which values do you measure?
? which intervals do you report?
= Heart rate, PR, QRS, QT, QTc and the axis.
"""

NO_SIGNAL_ANSWER = "No ECG is attached. Open a recording and ask again, or ask me to draw one."

OFF_TOPIC_ANSWER = "I can only explain ECGs or draw them."
OFF_TOPIC: tuple[str, ...] = (
    "what is the weather today?",
    "tell me a joke",
    "who is the president?",
    "write a poem about the sea",
    "what is the capital of France?",
    "how do I bake bread?",
    "draw a cat",
    "draw me a house with a garden",
    "translate this sentence into German",
    "what is 12 times 7?",
    "play some music",
    "recommend a good book",
    "who won the world cup?",
    "what time is it?",
    "write a Python function that sorts a list",
    "book a flight to Rome",
    "explain quantum physics",
    "generate a picture of a mountain",
    "how tall is Mount Everest?",
    "what should I cook tonight?",
    "interpret this chest X-ray",
    "explain my blood test",
    "tell me about the history of Rome",
    "how do I fix my car?",
    "sing a song",
    "what do you think about politics?",
    "create a logo for my company",
    "summarise this book for me",
    "how do I learn to play the piano?",
    "what is the meaning of life?",
)


def _agreeing(question: str) -> str:
    """The question about one thing as one about several."""
    for one, several in (("what is the", "what are the"), ("what's", "what are"), ("what does", "what do")):
        question = question.replace(one, several)
    question = question.replace("what exactly is", "what exactly are").replace("what is it", "what are they")
    return f"{question.removesuffix(' is')} are" if question.endswith(" is") else question


def _questions(entries: str, turn: int) -> list[str]:
    """The questions of one item; a "{term}" becomes those of one set of `_DEFINITIONS`, chosen by `turn`."""
    questions: list[str] = []
    for entry in entries.split(" | "):
        if entry.startswith("{"):
            term = entry.strip("{}")
            forms = [frame.format(x=term) for frame in _DEFINITIONS[turn % len(_DEFINITIONS)]]
            questions += [_agreeing(form) if term.endswith(("leads", "fibres")) else form for form in forms]
        else:
            questions.append(entry)
    return questions


def _items(text: str) -> list[tuple[list[str], str]]:
    items: list[tuple[list[str], str]] = []
    asked: list[str] = []
    answered: list[str] = []
    for line in [*text.strip().splitlines(), "?"]:
        if line.startswith("?") and answered:
            items.append((_questions(" | ".join(asked), len(items)), " ".join(answered)))
            asked, answered = [], []
        (asked if line.startswith("?") else answered).append(line[2:])
    return items


KNOWLEDGE: list[tuple[list[str], str]] = _items(_TEXT)
"""Questions that mean the same, with their answer."""
