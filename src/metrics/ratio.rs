//! Ratios of two counters, interval by interval: tokens a second, seconds a request, money a thousand tokens.
//!
//! How far two arms' ratios may differ by chance nobody can say from two sums alone: one long answer costs as much as a
//! hundred short ones. So there is no comparison with a guarantee here; limits and conditions hold what they say.
use super::{
    Outcome, Seen, counters,
    evidence::{Counted, Look},
    held::{self, Held, Noun},
    presets::Ratio,
};
use crate::vocab::Verdict;

const INTERVALS: Noun = Noun { one: "interval", many: "intervals" };

/// What one arm's two counters gained.
struct Gained {
    /// In each interval.
    intervals: Vec<(f64, f64)>,
    /// In all intervals.
    total: (f64, f64),
    /// Of late, by what is divided by.
    recent: f64,
}

impl Gained {
    fn of(look: &Look<'_>, ratio: &Ratio, arm: &Counted) -> Result<Self, String> {
        let grid = look.windows();
        let mut gained = Self { intervals: vec![(0.0, 0.0); grid.len()], total: (0.0, 0.0), recent: 0.0 };
        for series in &arm.series {
            let divides = series.is_called(ratio.per);
            for (at, by) in counters::fractions(series, &arm.beats, look.times.start)? {
                gained.recent += if divides && at > look.late() { by } else { 0.0 };
                let Some(interval) = grid.index(at).and_then(|index| gained.intervals.get_mut(index)) else { continue };
                let (over, under) = if divides { (0.0, by) } else { (by * ratio.times, 0.0) };
                interval.0 += over;
                interval.1 += under;
                gained.total.0 += over;
                gained.total.1 += under;
            }
        }
        Ok(gained)
    }
}

/// Nothing where there is nothing to divide by.
fn divided((over, under): (f64, f64)) -> Option<f64> {
    (under > 0.0).then(|| over / under)
}

pub(super) fn judge(
    look: &Look<'_>,
    ratio: &Ratio,
    canary: &Counted,
    stable: Option<&Counted>,
) -> Result<Seen, String> {
    let ours = Gained::of(look, ratio, canary)?;
    let theirs = stable.map(|stable| Gained::of(look, ratio, stable)).transpose()?;
    let of_stable = |at: usize| theirs.as_ref().and_then(|theirs| divided(*theirs.intervals.get(at)?));
    let numbers = ours.intervals.iter().enumerate();
    let numbers = numbers.filter_map(|(at, interval)| Some((divided(*interval)?, of_stable(at))));
    let Held { kept, is_judged, why, unit } = held::judge(look.metric, INTERVALS, numbers);
    // Nothing divided by something is 0, which keeps most limits: so a counter that nobody has is said.
    let is_there = |arm: &Counted| arm.series.iter().any(|series| series.is_called(look.preset.series));
    let why = if is_there(canary) || stable.is_some_and(is_there) {
        why
    } else {
        format!("{why}; nobody counts {}, which is taken for 0", look.preset.series)
    };
    let no_requests = ours.recent <= 0.0;
    let shown = |gained: &Gained| divided(gained.total).map(|ratio| unit.show(ratio));
    let (canary, stable) = (shown(&ours), theirs.as_ref().and_then(shown));
    let (usable, outcome, why) = match kept.verdict {
        Verdict::Unknown if canary.is_none() => {
            (false, Outcome::Empty, format!("{} of the canary has not grown in a whole interval yet", ratio.per))
        }
        Verdict::Unknown => {
            (false, Outcome::Empty, format!("{} of stable has not grown in any interval yet", ratio.per))
        }
        _ if no_requests && !kept.finished => {
            (false, Outcome::Measured, format!("{why}; {} of the canary does not grow of late", ratio.per))
        }
        _ => (is_judged, Outcome::Measured, why),
    };
    Ok(Seen {
        verdict: kept.verdict,
        usable,
        no_requests,
        canary,
        stable,
        samples: u64::from(kept.judged),
        failures: kept.failures,
        ..Seen::nothing(outcome, why)
    })
}
