//! Lists from before. What names no version is of now, says Kubernetes; a replica of the API server that lags, or one that
//! was cut off from its store, may answer otherwise, and objects of different moments fit together in ways that never were.
use super::ask::locked;
use jiff::{SignedDuration, Timestamp};
use kube::api::ApiResource;
use std::{collections::HashMap, sync::Mutex};
use thiserror::Error;

/// Who answers from before for so long is believed: the store was put back to what it was.
const DOUBTED: SignedDuration = SignedDuration::from_secs(30);

/// A list is older than what was known of its kind when it was asked for.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "the API server lists {kind} as of version {version}, and {known} was known of them already; it is asked again"
)]
pub struct Outdated {
    kind: String,
    version: u64,
    known: u64,
}

/// The newest version that was seen of each kind. Versions of one kind can be compared.
#[derive(Debug, Default)]
pub struct Newest {
    kinds: Mutex<HashMap<(String, String), Known>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    version: u64,
    /// Since when every list was older.
    doubted_since: Option<Timestamp>,
}

fn key(kind: &ApiResource) -> (String, String) {
    (kind.group.clone(), kind.plural.clone())
}

impl Newest {
    /// What is known of a kind now: no list that is asked for from here on may be older.
    pub fn of(&self, kind: &ApiResource) -> u64 {
        locked(&self.kinds).get(&key(kind)).map_or(0, |known| known.version)
    }

    /// An object of this version was read or written.
    pub fn saw(&self, kind: &ApiResource, version: &str) {
        let Ok(version) = version.parse() else { return };
        let mut kinds = locked(&self.kinds);
        let known = kinds.entry(key(kind)).or_default();
        known.version = known.version.max(version);
    }

    /// A list of this version arrived, which was asked for when `least` was known.
    ///
    /// # Errors
    /// When it is older, unless every list has been for half a minute.
    pub fn listed(&self, kind: &ApiResource, version: &str, least: u64, now: Timestamp) -> Result<(), Outdated> {
        // Whoever gives versions that are no numbers says nothing of their order.
        let Ok(version) = version.parse::<u64>() else { return Ok(()) };
        let mut kinds = locked(&self.kinds);
        let known = kinds.entry(key(kind)).or_default();
        if version >= least {
            *known = Known { version: known.version.max(version), doubted_since: None };
            return Ok(());
        }
        let since = *known.doubted_since.get_or_insert(now);
        if now.duration_since(since) < DOUBTED {
            return Err(Outdated { kind: kind.plural.clone(), version, known: least });
        }
        *known = Known { version, doubted_since: None };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::kinds;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn a_list_is_no_older_than_what_was_known_when_it_was_asked_for() {
        let (newest, sets) = (Newest::default(), kinds::replica_sets());
        assert_eq!(newest.listed(&sets, "7", newest.of(&sets), at(0)), Ok(()));
        newest.saw(&sets, "12");
        let said = newest.listed(&sets, "11", newest.of(&sets), at(1)).unwrap_err().to_string();
        assert!(said.contains("replicasets as of version 11, and 12"), "{said}");
        assert_eq!(newest.listed(&sets, "12", newest.of(&sets), at(1)), Ok(()), "nothing happened since");
        // Of two that are under way at once the older may arrive last.
        let asked = newest.of(&sets);
        assert_eq!(newest.listed(&sets, "20", asked, at(2)), Ok(()));
        assert_eq!(newest.listed(&sets, "13", asked, at(2)), Ok(()));
        assert_eq!(newest.of(&sets), 20);
        assert_eq!(newest.of(&kinds::pods()), 0, "another kind may be in another store");
        assert_eq!(newest.listed(&sets, "abc", newest.of(&sets), at(3)), Ok(()));
    }

    #[test]
    fn a_store_that_was_put_back_is_believed_after_half_a_minute() {
        let (newest, sets) = (Newest::default(), kinds::replica_sets());
        newest.saw(&sets, "900");
        for second in 0..30 {
            assert!(newest.listed(&sets, &(100 + second).to_string(), newest.of(&sets), at(second)).is_err());
        }
        assert_eq!(newest.listed(&sets, "140", newest.of(&sets), at(30)), Ok(()));
        assert!(newest.listed(&sets, "139", newest.of(&sets), at(31)).is_err(), "from there on as before");
        // One answer of now in between, and the time counts anew.
        assert_eq!(newest.listed(&sets, "150", newest.of(&sets), at(50)), Ok(()));
        assert!(newest.listed(&sets, "149", newest.of(&sets), at(70)).is_err());
        assert!(newest.listed(&sets, "149", newest.of(&sets), at(99)).is_err());
    }
}
