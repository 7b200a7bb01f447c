//! How large and how often one picture is encoded, from what is left for it: the ladder and the
//! patience with which it is climbed. Pure.
//!
//! ```text
//!              short of bits for DOWN_AFTER (much too short: DOWN_SOON)
//!      ┌────────────────────────────────────────────────────────────────┐
//!   rung 0 … last ── below the last rung ──► sound only ⇄ trial (a tiny picture, still "sound only")
//!      └──────────────── enough for UP_AFTER ◄──────────────┘
//! ```
//!
//! Falling skips rungs, and so does climbing where the budget covered a better one all the time. A
//! picture is short of bits when it fills what it may take ([`Signal::is_filled`]) and that is less than
//! its rung needs: one that hardly moves leaves estimates low without being short. It climbs when the
//! budget covers the next rung but for gusts, or when it leaves much of its bits unused on a path without
//! queue and unusual loss.
//!
//! Where nothing but sound is sent, the congestion controller cannot learn that the path got better:
//! its estimate is bound to what is sent. So the smallest picture is tried every few seconds, with so
//! few bits that the sound does not notice, and given up at the first sign of a queue.
//!
//! Invariants: never up within [`UP_AFTER`] after a step down; down within 1.5 s when reports come at
//! least four times a second; an up that had to be taken back makes the next one wait longer.
//!
//! Deliberately not here: what the budget is ([`super::budget`]) and simulcast ([`super::simulcast`]).

use std::time::{Duration, Instant};

use call_protocol::MediaSource;

use super::lasting::lasting;

/// Shortness must last so long. Shorter follows every dip of an estimate; longer sends a slide show
/// meanwhile.
const DOWN_AFTER: Duration = Duration::from_millis(1_000);
/// The same when less than half of what the rung needs is left, but not for the step to sound alone: what
/// jitter makes of an estimate for a moment may leave nothing.
const DOWN_SOON: Duration = Duration::from_millis(400);
/// How long the next rung must fit, and the least time since the last step down. Shorter oscillates;
/// longer keeps a small picture on a path that is good again.
const UP_AFTER: Duration = Duration::from_secs(5);
/// Shorter gusts do not begin the wait anew; they do not count for it either. Longer climbs where the budget
/// swings, shorter leaves the picture small wherever there is jitter.
const GUST: Duration = Duration::from_millis(700);
/// An up that lasted less than this was a mistake, and the next wait is twice as long.
const MISTAKE: Duration = Duration::from_secs(10);
/// The longest wait before an up.
const UP_AFTER_MOST: Duration = Duration::from_secs(40);
/// A trial that proved nothing by then ends.
const TRIAL: Duration = Duration::from_millis(3_500);
/// By when the estimate must have grown by how many percent, or the trial ends: it grows by half in
/// a second where there is room, and not at all where there is none.
const TRIAL_GROWTH: (Duration, u64) = (Duration::from_millis(1_200), 112);
/// What a trial has to show: so many percent of what keeps the last rung. It cannot show what enters it
/// from elsewhere, because an estimate grows to half again of what is sent at most.
const TRIAL_SHOWS_PERCENT: u64 = 120;
/// Pauses between trials: how many trials each is for, the last for all further ones. The first
/// minute's are short, because most dips last seconds and the picture must be back within eight of
/// the path's recovery.
const TRIAL_PAUSES: [(usize, Duration); 3] = [
    (12, Duration::from_secs(3)),
    (22, Duration::from_secs(8)),
    (usize::MAX, Duration::from_secs(15)),
];
/// What a trial may take. More proves a path sooner; less disturbs the sound of one that is still
/// narrow.
pub(crate) const TRIAL_BPS: u64 = 40_000;

/// One step of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rung {
    /// Most pixels of the shorter side.
    pub(crate) short_side_px: u32,
    /// Most pictures per second.
    pub(crate) fps: u32,
    /// With less than this left for the picture, in bit/s, the next rung looks better.
    pub(crate) keep_bps: u64,
    /// From this on, in bit/s, the rung is climbed to.
    pub(crate) enter_bps: u64,
}

const fn rung(short_side_px: u32, fps: u32, keep_kbps: u64, enter_kbps: u64) -> Rung {
    Rung {
        short_side_px,
        fps,
        keep_bps: keep_kbps * 1_000,
        enter_bps: enter_kbps * 1_000,
    }
}

/// Faces: the size goes first, because 15 small pictures a second show more of an expression than
/// five large ones; the rate below 270 lines.
///
/// Sizes and the bits below which each is left after libwebrtc's simulcast table
/// (`kSimulcastFormatsVP8`: 720p from 600, 540p from 350, 360p from 150, 270p from 150, 180p from 30
/// kbit/s), rates after its balanced degradation (7 pictures a second up to 320x240, 10 up to
/// 480x360, 15 up to 640x480). 720p is kept down to 450 because every call begins with an estimate
/// of 600. Each needs about half again as much to be entered as to be kept: wider than the 15 % by
/// which the estimate swings around the capacity.
const CAMERA: [Rung; 6] = [
    rung(u32::MAX, 60, 450, 700),
    rung(540, 30, 300, 450),
    rung(360, 30, 170, 260),
    rung(270, 20, 100, 150),
    rung(180, 15, 65, 95),
    rung(180, 7, 45, 65),
];

/// Shared screens: the size stays, because text that is scaled cannot be read; the rate goes.
/// libwebrtc keeps a screen's size as well (`maintain-resolution`) and sends five pictures a second
/// at 200 kbit/s.
const SCREEN: [Rung; 5] = [
    rung(u32::MAX, 30, 600, 900),
    rung(u32::MAX, 15, 300, 450),
    rung(u32::MAX, 8, 150, 230),
    rung(u32::MAX, 5, 80, 120),
    rung(720, 2, 45, 65),
];

/// The rungs for what a picture shows, best first.
pub(crate) fn rungs(source: MediaSource) -> &'static [Rung] {
    match source {
        MediaSource::Screen => &SCREEN,
        MediaSource::Camera | MediaSource::Microphone => &CAMERA,
    }
}

/// What is tried where only sound is sent: a thumbnail, whose keyframe is about one kilobyte.
const TRIAL_RUNG: Rung = rung(90, 5, 0, 0);

/// The best rung that may be kept with this budget; `None` where only sound is left.
pub(crate) fn fitting(rungs: &[Rung], budget_bps: u64) -> Option<usize> {
    rungs.iter().position(|rung| rung.keep_bps <= budget_bps)
}

/// What is known at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signal {
    /// What the path carries in all, in bit/s.
    pub(crate) target_bps: u64,
    /// What of it is left for the picture, in bit/s.
    pub(crate) budget_bps: u64,
    /// Whether the picture takes nearly all it may.
    pub(crate) is_filled: bool,
    /// Whether it leaves more than half of what it may take.
    pub(crate) is_easy: bool,
    /// Neither unusual loss nor a queue on the path.
    pub(crate) is_calm: bool,
    /// Whether a picture may be tried where there is only sound: nobody else gets one either.
    pub(crate) may_try: bool,
}

/// Where a picture stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// On this rung, 0 is the best.
    On(usize),
    /// Sound only.
    Off,
    /// Sound only, with a tiny picture to find out about the path.
    Trial,
}

/// See the module's text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ladder {
    rungs: &'static [Rung],
    step: Step,
    short_since: Option<Instant>,
    /// Since when less than half of what is needed is left.
    starved_since: Option<Instant>,
    fits_since: Option<Instant>,
    /// Since when it did not for a moment.
    gust_since: Option<Instant>,
    /// The least budget while it did.
    fitted_bps: u64,
    down_at: Option<Instant>,
    up_at: Option<Instant>,
    up_after: Duration,
    trial: Option<Running>,
    /// Trials since the picture went off.
    trials: usize,
    next_trial_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    since: Instant,
    /// The estimate it began with.
    target_bps: u64,
}

impl Running {
    fn has_failed(&self, now: Instant, signal: Signal) -> bool {
        let lasted = now.saturating_duration_since(self.since);
        let (by, percent) = TRIAL_GROWTH;
        let has_sunk = signal.target_bps < self.target_bps;
        let has_grown = signal.target_bps * 100 >= self.target_bps * percent;
        !signal.is_calm
            || !signal.may_try
            || has_sunk
            || lasted >= TRIAL
            || lasted >= by && !has_grown
    }
}

impl Ladder {
    /// At the top.
    pub(crate) fn new(source: MediaSource) -> Self {
        Self {
            rungs: rungs(source),
            step: Step::On(0),
            short_since: None,
            starved_since: None,
            fits_since: None,
            gust_since: None,
            fitted_bps: 0,
            down_at: None,
            up_at: None,
            up_after: UP_AFTER,
            trial: None,
            trials: 0,
            next_trial_at: None,
        }
    }

    pub(crate) fn step(&self) -> Step {
        self.step
    }

    /// The rung to encode; `None` where there is no picture at all.
    pub(crate) fn rung(&self) -> Option<Rung> {
        match self.step {
            Step::On(index) => self.rungs.get(index).copied(),
            Step::Off => None,
            Step::Trial => Some(TRIAL_RUNG),
        }
    }

    /// What the next better rung takes to be entered, in bit/s: to be sent, so that the estimate can
    /// grow to it. `None` at the top.
    pub(crate) fn next_enter_bps(&self) -> Option<u64> {
        let above = match self.step {
            Step::On(index) => index.checked_sub(1)?,
            Step::Off | Step::Trial => self.rungs.len() - 1,
        };
        self.rungs.get(above).map(|rung| rung.enter_bps)
    }

    /// Takes in what is known now. `same` tells whether two rungs make no difference to this
    /// picture: then the better one holds, at once.
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        signal: Signal,
        same: impl Fn(Rung, Rung) -> bool,
    ) {
        match self.step {
            Step::On(index) => self.climb_or_fall(now, index, signal),
            Step::Off | Step::Trial => self.try_again(now, signal),
        }
        while let Step::On(index) = self.step
            && let Some(above) = index.checked_sub(1)
            && same(self.rungs[above], self.rungs[index])
        {
            self.step = Step::On(above);
        }
    }

    fn climb_or_fall(&mut self, now: Instant, index: usize, signal: Signal) {
        let rung = self.rungs[index];
        // With nothing left at all, what is sent does not matter.
        let is_short =
            signal.budget_bps < rung.keep_bps && (signal.is_filled || signal.budget_bps == 0);
        let is_starved = is_short && signal.budget_bps * 2 < rung.keep_bps;
        let short_for = lasting(&mut self.short_since, now, is_short);
        let starved_for = lasting(&mut self.starved_since, now, is_starved);
        let is_due = |lasted: Option<Duration>, least| lasted.is_some_and(|lasted| lasted >= least);
        let is_lasting = is_due(short_for, DOWN_AFTER);
        if is_lasting || is_due(starved_for, DOWN_SOON) {
            let last = (!is_lasting).then_some(self.rungs.len() - 1);
            let rung = fitting(self.rungs, signal.budget_bps).or(last);
            if rung != Some(index) {
                if is_lasting {
                    self.short_since = None;
                }
                return self.fall(now, rung);
            }
        }
        let Some(above) = index.checked_sub(1) else {
            return;
        };
        let fits = self.rungs[above].enter_bps <= signal.budget_bps
            || signal.is_easy && signal.is_calm && !is_short;
        let fits_for = self.fitting_for(now, fits, signal.budget_bps);
        if is_due(fits_for, self.up_after) && self.may_rise(now) {
            self.rise(now, Step::On(self.fitted(above)));
        }
    }

    /// How long a better rung has fitted, but for gusts; `None` where it does not now.
    fn fitting_for(&mut self, now: Instant, fits: bool, budget_bps: u64) -> Option<Duration> {
        if !fits {
            let gust = lasting(&mut self.gust_since, now, self.fits_since.is_some());
            if gust.is_none_or(|lasted| lasted >= GUST) {
                self.forget_fitting();
            }
            return None;
        }
        if let Some(gust) = self.gust_since.take() {
            let lasted = now.saturating_duration_since(gust);
            let since = self.fits_since.filter(|_| lasted < GUST);
            self.fits_since = since.map(|since| since + lasted);
        }
        self.fitted_bps = match self.fits_since {
            Some(_) => self.fitted_bps.min(budget_bps),
            None => budget_bps,
        };
        lasting(&mut self.fits_since, now, true)
    }

    fn forget_fitting(&mut self) {
        (self.fits_since, self.gust_since) = (None, None);
    }

    /// The best rung that could be entered all the time, `next` at least.
    fn fitted(&self, next: usize) -> usize {
        let mut rungs = self.rungs.iter();
        let best = rungs.position(|rung| rung.enter_bps <= self.fitted_bps);
        best.map_or(next, |best| best.min(next))
    }

    /// To a rung, or to sound alone. How long it has been short goes on counting.
    fn fall(&mut self, now: Instant, rung: Option<usize>) {
        let step = rung.map_or(Step::Off, Step::On);
        let was_mistake = self
            .up_at
            .is_some_and(|at| now.saturating_duration_since(at) < MISTAKE);
        self.up_after = if was_mistake {
            (self.up_after * 2).min(UP_AFTER_MOST)
        } else {
            UP_AFTER
        };
        self.starved_since = None;
        self.forget_fitting();
        self.down_at = Some(now);
        self.step = step;
        if step == Step::Off {
            self.trials = 0;
            self.next_trial_at = Some(now + trial_pause(0));
        }
    }

    fn rise(&mut self, now: Instant, step: Step) {
        (self.short_since, self.starved_since) = (None, None);
        self.forget_fitting();
        self.up_at = Some(now);
        self.trial = None;
        self.step = step;
    }

    fn may_rise(&self, now: Instant) -> bool {
        self.down_at
            .is_none_or(|at| now.saturating_duration_since(at) >= UP_AFTER)
    }

    /// From sound only: back when the last rung fits, tried if nothing else tells.
    fn try_again(&mut self, now: Instant, signal: Signal) {
        let last = self.rungs.len() - 1;
        let fits = self.rungs[last].enter_bps <= signal.budget_bps;
        if let Some(trial) = self.trial {
            let shown_bps = self.rungs[last].keep_bps * TRIAL_SHOWS_PERCENT / 100;
            if signal.budget_bps >= shown_bps && self.may_rise(now) {
                return self.rise(now, Step::On(last));
            }
            if trial.has_failed(now, signal) {
                self.trial = None;
                self.step = Step::Off;
                self.trials += 1;
                self.next_trial_at = Some(now + trial_pause(self.trials));
            }
            return;
        }
        let fits_for = self.fitting_for(now, fits, signal.budget_bps);
        let has_fitted = fits_for.is_some_and(|lasted| lasted >= UP_AFTER);
        if has_fitted && self.may_rise(now) {
            return self.rise(now, Step::On(self.fitted(last)));
        }
        let is_due = self.next_trial_at.is_none_or(|at| now >= at);
        if is_due && signal.is_calm && signal.may_try {
            let target_bps = signal.target_bps;
            self.trial = Some(Running {
                since: now,
                target_bps,
            });
            self.step = Step::Trial;
        }
    }
}

fn trial_pause(trials: usize) -> Duration {
    let pause = TRIAL_PAUSES.iter().find(|(most, _)| trials < *most);
    pause.map_or(UP_AFTER, |(_, pause)| *pause)
}

#[cfg(test)]
#[path = "ladder_tests.rs"]
mod tests;
