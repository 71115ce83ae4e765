//! Whether errors come one by one or in bursts, as stable's own past shows.
//!
//! A retry storm or one bad connection makes many errors of one cause, and a test that counts each of them as news is
//! fooled by it. What is measured is the dispersion phi: how many times larger the variance of the errors is than it
//! would be if each came alone. It is taken from before the release, so it can depend on nothing that the canary did.
use super::{Counts, real, thousands};

/// With fewer errors than this the past says nothing.
pub const ENOUGH: u64 = 200;
/// Up to this dispersion errors are counted one by one, tempered; above it by their share of a block of time.
const ONE_BY_ONE: f64 = 1.5;
/// Taken for the dispersion as long as it is not known: causes with eight errors in the mean. With 5 one in fifteen equal
/// canaries was failed where it was ten; with more than this a canary that always fails is found later.
const UNKNOWN: f64 = 15.0;

/// How much errors come in bursts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Bursts {
    /// The past had fewer than [`ENOUGH`] errors: it had this many.
    Unknown(u64),
    /// The dispersion, at least 1: the mean number of errors of one cause, counted by error.
    Known(f64),
    /// Nobody has looked at the past.
    #[default]
    Unseen,
}

impl Bursts {
    /// Measures rows of counts that share one rate of errors: of all pods in one interval, or of neighbouring intervals.
    ///
    /// It is the mean of Pearson's chi-squared by degree of freedom, weighed by the errors of each row: so it becomes the
    /// mean size of the burst that an error is in, whatever the rate does from row to row.
    pub fn of<R: AsRef<[Counts]>>(rows: impl IntoIterator<Item = R>) -> Self {
        let (mut errors, mut weighed) = (0_u64, 0.0_f64);
        for row in rows {
            let row: Vec<_> = row.as_ref().iter().filter(|counts| counts.n > 0).collect();
            let (e, n) = row.iter().fold((0, 0), |(e, n), counts| (e + counts.x.min(counts.n), n + counts.n));
            if e == 0 || row.len() < 2 {
                continue;
            }
            let chi: f64 = row
                .iter()
                .map(|counts| {
                    let mean = real(e) * real(counts.n) / real(n);
                    (real(counts.x.min(counts.n)) - mean).powi(2) / mean
                })
                .sum();
            weighed += real(e) * chi / (real(row.len() as u64) - 1.0);
            errors = errors.saturating_add(e);
        }
        if errors < ENOUGH { Self::Unknown(errors) } else { Self::Known((weighed / real(errors)).max(1.0)) }
    }

    /// Whether errors may be counted one by one.
    pub(super) fn one_by_one(self) -> bool {
        matches!(self, Self::Known(phi) if phi <= ONE_BY_ONE)
    }

    /// What each request counts for where they are counted one by one.
    pub(super) fn tempering(self) -> f64 {
        match self {
            Self::Known(phi) => 1.0 / phi.max(1.0),
            Self::Unknown(_) | Self::Unseen => 1.0 / UNKNOWN,
        }
    }

    /// What each request counts for in the proof that errors are rare, for which a burst counts once, however large: the
    /// mean burst is `(phi + 1) / 2` where sizes are geometric, and three where nothing is known.
    pub(super) fn tempering_of_rare(self) -> f64 {
        match self {
            Self::Known(phi) => 2.0 / (phi.max(1.0) + 1.0),
            Self::Unknown(_) | Self::Unseen => 1.0 / 3.0,
        }
    }

    /// Why what goes wrong is counted by its share of blocks of time, if it is: `what` that is, and how much of stable's `past`
    /// was looked at.
    pub fn why(self, what: &str, past: &str) -> Option<String> {
        match self {
            Self::Known(phi) if phi > ONE_BY_ONE => {
                Some(format!("{what} come in bursts of {phi:.1} here, so blocks of 10 s and more are compared"))
            }
            Self::Known(_) => None,
            Self::Unknown(errors) => Some(format!(
                "blocks of 10 s and more are compared, for stable's last {past} had {} {what} and it takes {ENOUGH} to say that \
                 they do not come in bursts",
                thousands(errors)
            )),
            Self::Unseen => Some("blocks of 10 s and more are compared, for stable's past is not known".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(counts: &[(u64, u64)]) -> Vec<Counts> {
        counts.iter().map(|(n, x)| Counts::new(*n, *x)).collect()
    }

    #[test]
    fn too_few_errors_say_nothing() {
        assert_eq!(Bursts::of(Vec::<Vec<Counts>>::new()), Bursts::Unknown(0));
        assert_eq!(Bursts::of(vec![row(&[(100, 1), (100, 0)]); 199]), Bursts::Unknown(199));
        assert!(matches!(Bursts::of(vec![row(&[(100, 1), (100, 0)]); 200]), Bursts::Known(_)));
        assert_eq!(Bursts::of(vec![row(&[(100, 3)]); 200]), Bursts::Unknown(0), "one pod alone has nothing beside it");
    }

    #[test]
    fn single_errors_have_a_dispersion_of_1_and_bursts_theirs() {
        // One error is on one of two pods: chi squared is 1 each time.
        assert_eq!(Bursts::of(vec![row(&[(100, 1), (100, 0)]); 300]), Bursts::Known(1.0));
        // Five at once, all on one of them.
        assert_eq!(Bursts::of(vec![row(&[(100, 5), (100, 0)]); 60]), Bursts::Known(5.0));
        assert!(!Bursts::Known(5.0).one_by_one() && Bursts::Known(1.0).one_by_one());
        assert_eq!(Bursts::of(vec![row(&[(100, 2), (100, 2)]); 60]), Bursts::Known(1.0), "never below 1");
    }

    #[test]
    fn a_rate_that_changes_from_row_to_row_is_no_burst() {
        let rows = (0..40).map(|k| if k % 2 == 0 { row(&[(100, 20), (100, 21)]) } else { row(&[(100, 1), (100, 0)]) });
        assert_eq!(Bursts::of(rows), Bursts::Known(1.0));
    }

    #[test]
    fn more_errors_than_requests_and_huge_numbers_are_no_trouble() {
        let Bursts::Known(phi) = Bursts::of([[Counts { n: 10, x: 900 }, Counts { n: 1 << 60, x: 1 << 59 }]]) else {
            panic!("there are enough errors")
        };
        assert!(phi.is_finite());
    }
}
