//! When an alert that was not delivered is tried again.
//!
//! Every answer but 2xx is tried again, and so is none at all. That includes refusals such as 401, 403, 404 and 410:
//! keys are mended, receivers are deployed late, and an alert about an abort is worth some hundred small requests a
//! day. There is no second, slower pace for them: after nine tries the common one is slow enough.
use crate::duration::Duration;

/// The first wait. Each later one is twice as long as the one before.
pub const FIRST_WAIT: Duration = Duration::seconds(1);
/// The longest wait.
pub const LONGEST_WAIT: Duration = Duration::seconds(5 * 60);
/// No try begins later than this after the event: the news is old by then, and status says so anyway.
pub const LIFETIME: Duration = Duration::seconds(24 * 3_600);

/// What becomes of an alert that is not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is tried again after so long.
    After(Duration),
    /// It is not tried again.
    GiveUp,
}

/// Whether an answer of this HTTP status is a receipt.
pub fn is_delivered(status: u16) -> bool {
    (200..300).contains(&status)
}

/// Whether an answer of this HTTP status refuses what this one alert says, and not whatever comes: then later ones need not
/// wait for it.
pub fn is_of_this_alert(status: u16) -> bool {
    matches!(status, 400 | 413 | 422)
}

/// What to do after so many failed tries, with `since_first` between the first of them, or the event, and now.
///
/// The waits are 1 s, 2 s, 4 s and so on, at most 5 minutes, and none at all before the first try. They hold no chance,
/// so that an operator that restarts, and counts from one again, does nothing worse than to be quick for some minutes.
pub fn next_try(attempts: u32, since_first: Duration) -> Next {
    let wait = match attempts.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => {
            let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
            Duration::millis(FIRST_WAIT.as_millis().saturating_mul(factor)).min(LONGEST_WAIT)
        }
    };
    if since_first.as_millis().saturating_add(wait.as_millis()) > LIFETIME.as_millis() {
        Next::GiveUp
    } else {
        Next::After(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes() {
        let waits = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300];
        for (attempts, seconds) in (0..).zip(waits) {
            assert_eq!(next_try(attempts, Duration::ZERO), Next::After(Duration::seconds(seconds)), "{attempts}");
        }
        assert_eq!(next_try(u32::MAX, Duration::ZERO), Next::After(LONGEST_WAIT));
    }

    #[test]
    fn a_receiver_that_never_answers_is_given_up_after_a_day() {
        let (mut attempts, mut now) = (0, Duration::ZERO);
        while let Next::After(wait) = next_try(attempts, now) {
            now = Duration::millis(now.as_millis() + wait.as_millis());
            attempts += 1;
        }
        assert!(now <= LIFETIME && now > Duration::seconds(24 * 3_600 - 300), "{now}");
        assert_eq!(attempts, 1 + 9 + 286);
        assert_eq!(next_try(0, Duration::seconds(25 * 3_600)), Next::GiveUp);
        assert_eq!(next_try(1, Duration::millis(u64::MAX)), Next::GiveUp);
    }

    #[test]
    fn only_2xx_is_a_receipt() {
        for status in [200, 202, 204, 299] {
            assert!(is_delivered(status), "{status}");
        }
        for status in [100, 199, 300, 302, 400, 401, 404, 408, 410, 429, 500, 503] {
            assert!(!is_delivered(status), "{status}");
        }
        for (status, of_this_one) in
            [(400, true), (413, true), (422, true), (401, false), (404, false), (429, false), (503, false)]
        {
            assert_eq!(is_of_this_alert(status), of_this_one, "{status}");
        }
    }
}
