//! Which Rollouts this operator cares for, when several share a cluster: those whose labels match a selector.
//!
//! The selector is read once, at the start, in the words of `kubectl -l`. A Rollout whose labels change is another
//! operator's from then on; what was decided before goes out at most once more, for every write carries its version.
use kube::core::{Expression, Selector, SelectorExt};
use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

/// The Rollouts that are ours; by default all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shard(Selector);

/// A selector that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{term}` is no requirement on labels: {why}; use key=value, key!=value, key in (a,b), key notin (a,b), key or !key"
)]
pub struct NoSelector {
    term: String,
    why: &'static str,
}

impl Shard {
    /// Whether a Rollout with these labels is ours.
    pub fn has(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.matches(labels)
    }

    /// The selector as the API server reads it; none when all are ours.
    pub fn selector(&self) -> Option<String> {
        (!self.0.selects_all()).then(|| self.0.to_string())
    }

    /// The name of the Lease that replicas of this shard hold: `base`, and for a part of the Rollouts a word that follows
    /// from the selector, so that two shards never wait for each other.
    pub fn lease_name(&self, base: &str) -> String {
        let Some(selector) = self.selector() else { return base.to_owned() };
        let digest = ring::digest::digest(&ring::digest::SHA256, selector.as_bytes());
        let word = digest.as_ref().iter().take(4).fold(0_u32, |word, byte| (word << 8) | u32::from(*byte));
        format!("{base}-{word:08x}")
    }
}

impl FromStr for Shard {
    type Err = NoSelector;

    fn from_str(text: &str) -> Result<Self, NoSelector> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let mut all = terms(text).iter().map(|term| requirement(term)).collect::<Result<Vec<_>, _>>()?;
        // The order in which somebody wrote them makes no other shard.
        all.sort();
        all.dedup();
        Ok(Self(all.into_iter().collect()))
    }
}

/// The parts between commas that are not in parentheses.
fn terms(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut terms) = (0_i32, 0, Vec::new());
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth = depth.saturating_add(1),
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                terms.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(text[start..].trim());
    terms
}

fn requirement(term: &str) -> Result<Expression, NoSelector> {
    let no = |why| NoSelector { term: term.to_owned(), why };
    let key =
        |text: &str| is_key(text.trim()).then(|| text.trim().to_owned()).ok_or_else(|| no("the key is no label's"));
    let value =
        |text: &str| is_value(text.trim()).then(|| text.trim().to_owned()).ok_or_else(|| no("the value is no label's"));
    if let Some(name) = term.strip_prefix('!') {
        return Ok(Expression::DoesNotExist(key(name)?));
    }
    if let Some(list) = term.strip_suffix(')') {
        let (head, list) = list.split_once('(').ok_or_else(|| no("a parenthesis is missing"))?;
        let (name, word) = head.trim().rsplit_once(char::is_whitespace).ok_or_else(|| no("it has no key"))?;
        let values = list.split(',').map(value).collect::<Result<BTreeSet<_>, _>>()?;
        return match word {
            "in" => Ok(Expression::In(key(name)?, values)),
            "notin" => Ok(Expression::NotIn(key(name)?, values)),
            _ => Err(no("only in and notin take a list")),
        };
    }
    if let Some((name, is)) = term.split_once("!=") {
        return Ok(Expression::NotEqual(key(name)?, value(is)?));
    }
    match term.split_once('=') {
        Some((name, is)) => Ok(Expression::Equal(key(name)?, value(is.strip_prefix('=').unwrap_or(is))?)),
        None => Ok(Expression::Exists(key(term)?)),
    }
}

/// What a label's name is: letters, digits, `-`, `_` and `.`, not at its ends, after an optional domain.
fn is_key(text: &str) -> bool {
    let (domain, name) = text.split_once('/').map_or((None, text), |(domain, name)| (Some(domain), name));
    let fits = |domain: &str| {
        domain.len() <= 253
            && !domain.is_empty()
            && domain.chars().all(|it| it.is_ascii_alphanumeric() || "-.".contains(it))
    };
    !name.is_empty() && is_value(name) && domain.is_none_or(fits)
}

fn is_value(text: &str) -> bool {
    let inside = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let end = |letter: Option<char>| letter.is_none_or(|letter| letter.is_ascii_alphanumeric());
    text.len() <= 63 && text.chars().all(inside) && end(text.chars().next()) && end(text.chars().next_back())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        text.split(' ')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    fn shard(text: &str) -> Shard {
        text.parse().unwrap()
    }

    #[test]
    fn a_shard_has_the_rollouts_that_its_selector_matches() {
        for (selector, yes, no) in [
            ("team=pay", "team=pay", "team=web"),
            ("team == pay", "team=pay x=y", "x=y"),
            ("team!=pay", "x=y", "team=pay"),
            ("team in (pay, web)", "team=web", "team=ops"),
            ("team notin (pay,web),x", "x=1", "team=pay x=1"),
            ("!team", "x=y", "team=pay"),
            ("example.com/shard=1", "example.com/shard=1", "shard=1"),
        ] {
            assert!(shard(selector).has(&labels(yes)), "{selector} and {yes}");
            assert!(!shard(selector).has(&labels(no)), "{selector} and {no}");
        }
        assert!(shard("").has(&labels("")) && Shard::default().has(&labels("a=b")));
    }

    #[test]
    fn what_is_no_selector_is_refused_with_the_forms_there_are() {
        for wrong in ["=x", "a b", "a=b c", "a in b", "a in (b", "a of (b)", ",", "a=b,", "!", "a/b/c=d", "-a", "a=b)"]
        {
            let error = wrong.parse::<Shard>().unwrap_err().to_string();
            assert!(error.contains("key notin (a,b)"), "{wrong}: {error}");
        }
    }

    #[test]
    fn shards_have_leases_of_their_own_and_one_shard_has_one() {
        assert_eq!(Shard::default().lease_name("bellwether"), "bellwether");
        let name = |text: &str| shard(text).lease_name("bellwether");
        assert_eq!(name("team=pay,x"), name(" x , team==pay "));
        assert_ne!(name("team=pay"), name("team!=pay"));
        assert_eq!(name("team=pay").len(), "bellwether-".len() + 8);
    }

    #[test]
    fn a_selector_is_read_again_from_what_it_prints() {
        for text in ["a=b,c!=d,!e,f", "a in (b,c),d notin (e)"] {
            assert_eq!(shard(&shard(text).selector().unwrap()), shard(text));
        }
    }
}
