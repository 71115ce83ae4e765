//! Where requests arrived, beside where the routes say that they go.
//!
//! A data plane that has accepted a weight may still not heed it: a mesh whose sidecar is missing, a route that stands
//! behind another one. Counters of both arms tell.
use crate::{
    judge::{percent, real, thousands},
    vocab::Weight,
};
use std::fmt;

/// So small a part of the canary's share is as good as none.
const HARDLY: f64 = 0.1;
/// Fewer requests than this show nothing.
const FEWEST: u64 = 50;
/// Natural logarithm of the chance, in a million, that so few requests reach a canary whose weight is heeded.
const SURE: f64 = 14.0;

/// The requests of both arms since the weight has been what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Those that the canary has had.
    pub canary: u64,
    /// Those that stable has had.
    pub stable: u64,
}

impl Arrived {
    fn all(self) -> u64 {
        self.canary.saturating_add(self.stable)
    }

    /// The canary's share, from 0 to 1, if there was a request.
    pub fn share(self) -> Option<f64> {
        (self.all() > 0).then(|| real(self.canary) / real(self.all()))
    }

    /// Whether the canary has had less than a tenth of its share, and that not by chance.
    ///
    /// That a share of `n` requests is `seen` or less where it should be `asked` has at most the chance
    /// `exp(-n KL(seen || asked))` (Chernoff).
    pub fn belies(self, asked: Weight) -> bool {
        let asked = f64::from(asked.percent()) / 100.0;
        let Some(seen) = self.share().filter(|seen| self.all() >= FEWEST && *seen < HARDLY * asked) else {
            return false;
        };
        let term = |part: f64, whole: f64| if part > 0.0 { part * (part / whole).ln() } else { 0.0 };
        real(self.all()) * (term(seen, asked) + term(1.0 - seen, 1.0 - asked)) > SURE
    }
}

impl fmt::Display for Arrived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.share() {
            None => f.write_str("no request"),
            Some(share) => write!(f, "{} of {} requests", percent(share), thousands(self.all())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn belies(canary: u64, stable: u64, asked: u8) -> bool {
        Arrived { canary, stable }.belies(Weight::new(asked).unwrap())
    }

    #[test]
    fn a_share_that_nobody_heeds_is_seen_in_some_dozens_of_requests_and_a_small_one_in_some_thousands() {
        assert!(!belies(0, 60, 20) && belies(0, 70, 20));
        assert!(!belies(0, 1_300, 1) && belies(0, 1_500, 1));
        assert!(belies(3, 1_000, 20), "what strays to the canary changes nothing");
        assert!(!belies(0, 49, 100) && belies(0, 50, 100), "all of it was asked for");
        assert!(!belies(0, 0, 20) && !belies(0, 1_000_000, 0));
    }

    #[test]
    fn a_share_that_is_heeded_in_part_or_was_unlucky_is_not() {
        assert!(!belies(21, 1_000, 20), "a tenth of it may be the traffic that passes the route");
        assert!(!belies(1_000, 0, 1) && !belies(100, 100, 100));
        assert!(!belies(1, 99, 5));
    }

    #[test]
    fn it_reads_as_a_share_of_so_many() {
        assert_eq!(Arrived { canary: 194, stable: 806 }.to_string(), "19 % of 1,000 requests");
        assert_eq!(Arrived::default().to_string(), "no request");
    }
}
