//! Users' queries: read as trees, checked, and written for one arm. Text is never patched.
use promql_parser::{
    label::{MatchOp, Matcher},
    parser::{self, Expr, VectorSelector, value::ValueType},
    util::unquote_string,
};
use std::time::Duration;

/// What `[$window]` is while a query is a tree: a length nobody would write.
const SENTINEL: Duration = Duration::from_millis(86_399_997);
/// The sentinel as the parser and the printer write it.
const SENTINEL_TEXT: &str = "[23h59m59s997ms]";
/// The greatest length of a query in characters.
const LONGEST: usize = 2_000;
/// The greatest number of words, signs and strings in a query. The tree is not deeper than this, and it is walked by
/// recursion.
const MOST_TOKENS: usize = 300;
/// The greatest number of patterns in a query, and what one may take in memory once it is compiled, in bytes: the parser compiles
/// each, and a few signs can stand for megabytes.
const MOST_PATTERNS: usize = 20;
const LARGEST_PATTERN: usize = 256 * 1024;

/// Why a query is refused, and the cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadQuery {
    /// It is longer than the limit.
    #[error("is longer than {LONGEST} characters; record parts of it by a rule and query that")]
    TooLong,
    /// It has more parts than the limit.
    #[error("has more than {MOST_TOKENS} words and signs; record parts of it by a rule and query that")]
    TooComplex,
    /// `$window` is not the whole of a range.
    #[error("$window stands alone in a range, like rate(x[$window])")]
    Window,
    /// `$arm` is not the whole value of the label arm.
    #[error("$arm stands only in the matcher arm=\"$arm\"")]
    Arm,
    /// It uses `offset` or `@`.
    #[error("offset and @ are refused, for evidence is from the time of this canary alone; leave them out")]
    Clock,
    /// It has more patterns than the limit.
    #[error(
        "has more than {MOST_PATTERNS} patterns (=~, !~); join some by |, or record parts of it by a rule and query that"
    )]
    Patterns,
    /// A pattern is not read, or is too large.
    #[error(
        "has a pattern that {1}: {0}; write a shorter one: without counts like {{99}}, and [0-9] for \\d or [a-z] for \\w"
    )]
    Pattern(String, &'static str),
    /// A range is no plain duration.
    #[error("a range is [$window] or a plain duration like [5m], and not [{0}]")]
    Range(String),
    /// The parser does not read it.
    #[error("is not read by the parser, and what is not read cannot be narrowed to one arm: {0}")]
    Unreadable(String),
    /// A selector is not narrowed to one arm.
    #[error("{0} needs the matcher arm=\"$arm\", or list its name in shared")]
    NoArm(String),
    /// A selector names no metric.
    #[error("{0} names no metric; write the name before the braces")]
    NoName(String),
    /// A selector of an arm reaches back beyond the evidence.
    #[error("{0} may reach back to before this canary; its range is [$window], and it is in no subquery")]
    Reaches(String),
    /// It joins matchers by `or`.
    #[error("{0} joins matchers by or; use two selectors")]
    Or(String),
    /// It yields text or ranges.
    #[error("yields no number; it must be a scalar or an instant vector")]
    NoNumber,
    /// It is more than a selector.
    #[error("is no plain selector; write one like eval_score_count{{arm=\"$arm\"}}")]
    NoSelector,
    /// It has the sentinel's length in it, or comes out differently than it went in.
    #[error("cannot be written back as it was read; write it in a simpler form")]
    Unfaithful,
}

/// A query that was read and found fit.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Query(Expr);

/// A selector in the tree.
struct Found<'a> {
    selector: &'a mut VectorSelector,
    range: Option<&'a mut Duration>,
    in_subquery: bool,
}

impl Query {
    /// Reads and checks a query; `shared` are names of metrics that need no arm.
    pub fn parse(text: &str, shared: &[String]) -> Result<Self, BadQuery> {
        let scanned = Scanned::of(text)?;
        let mut expr = read(&scanned.text)?;
        let mut found = Vec::new();
        collect(&mut expr, false, &mut found);
        let (mut windows, mut arms) = (0, 0);
        for Found { selector, range, in_subquery } in found {
            let shown = selector.to_string();
            if !selector.matchers.or_matchers.is_empty() {
                return Err(BadQuery::Or(shown));
            }
            if selector.offset.is_some() || selector.at.is_some() {
                return Err(BadQuery::Clock);
            }
            let is_window = range.as_deref().is_none_or(|range| *range == SENTINEL);
            windows += usize::from(range.is_some() && is_window);
            let named = selector.matchers.matchers.iter().find(|matcher| matcher.name == "__name__");
            match selector.matchers.find_matchers("arm").as_slice() {
                [Matcher { op: MatchOp::Equal, value, .. }] if value == "$arm" => {
                    arms += 1;
                    if selector.name.is_none() && named.is_none() {
                        return Err(BadQuery::NoName(shown));
                    }
                    if !is_window || in_subquery {
                        return Err(BadQuery::Reaches(shown));
                    }
                }
                [] => {
                    let name = match (&selector.name, named) {
                        (Some(name), _) => Some(name),
                        (None, Some(Matcher { op: MatchOp::Equal, value, .. })) => Some(value),
                        _ => None,
                    };
                    if !name.is_some_and(|name| shared.contains(name)) {
                        return Err(BadQuery::NoArm(shown));
                    }
                }
                _ => return Err(BadQuery::Arm),
            }
        }
        if arms != scanned.arms {
            return Err(BadQuery::Arm);
        }
        if !matches!(expr.value_type(), ValueType::Scalar | ValueType::Vector) {
            return Err(BadQuery::NoNumber);
        }
        if windows != scanned.windows || read(&expr.to_string()).ok().as_ref() != Some(&expr) {
            return Err(BadQuery::Unfaithful);
        }
        Ok(Self(expr))
    }

    /// Reads a plain selector of one arm, like `requests_total{arm="$arm"}`.
    pub fn selector(text: &str) -> Result<Self, BadQuery> {
        let query = Self::parse(text, &[])?;
        if matches!(query.0, Expr::VectorSelector(_)) { Ok(query) } else { Err(BadQuery::NoSelector) }
    }

    /// The name that a plain selector has, and what it asks for beside the arm.
    pub fn parts(&self) -> Option<(String, Vec<Matcher>)> {
        let Expr::VectorSelector(selector) = &self.0 else { return None };
        let (named, others): (Vec<_>, Vec<_>) =
            selector.matchers.matchers.iter().cloned().partition(|matcher| matcher.name == "__name__");
        let name = match (&selector.name, named.as_slice()) {
            (Some(name), []) => name.clone(),
            (None, [Matcher { op: MatchOp::Equal, value, .. }]) => value.clone(),
            _ => return None,
        };
        Some((name, others.into_iter().filter(|matcher| matcher.name != "arm").collect()))
    }

    /// The samples of a plain selector for one arm, over this range.
    pub fn samples(&self, arm: &[Matcher], range: Duration) -> Result<String, BadQuery> {
        self.written(arm, range).map(|selector| format!("{selector}[{}s]", range.as_secs()))
    }

    /// The query for one arm: these matchers instead of `arm="$arm"`, this length instead of `$window`. Selectors of
    /// shared metrics are left as they are.
    pub fn written(&self, arm: &[Matcher], window: Duration) -> Result<String, BadQuery> {
        let mut expr = self.0.clone();
        let mut found = Vec::new();
        collect(&mut expr, false, &mut found);
        for Found { selector, range, .. } in found {
            let matchers = &mut selector.matchers.matchers;
            if let Some(at) = matchers.iter().position(|matcher| matcher.name == "arm") {
                matchers.splice(at..=at, arm.iter().cloned());
            }
            if let Some(range) = range.filter(|range| **range == SENTINEL) {
                *range = window;
            }
        }
        sort(&mut expr);
        let text = expr.to_string();
        if read(&text).ok().as_ref() == Some(&expr) { Ok(text) } else { Err(BadQuery::Unfaithful) }
    }
}

/// Reads text as a tree, with every selector's matchers in the order in which they are printed.
fn read(text: &str) -> Result<Expr, BadQuery> {
    // The parser panics on some texts, like durations beyond its range. Those that are known are refused before.
    match std::panic::catch_unwind(|| parser::parse(text)) {
        Ok(Ok(mut expr)) => {
            sort(&mut expr);
            Ok(expr)
        }
        Ok(Err(words)) => Err(BadQuery::Unreadable(words.chars().filter(|c| !c.is_control()).take(200).collect())),
        Err(_) => Err(BadQuery::Unreadable("it broke off".into())),
    }
}

fn sort(expr: &mut Expr) {
    let mut found = Vec::new();
    collect(expr, false, &mut found);
    for Found { selector, .. } in found {
        selector.matchers.matchers.sort_by_cached_key(ToString::to_string);
    }
}

/// All selectors of a tree. The parser's own walk leaves out the parameters of aggregations.
fn collect<'a>(expr: &'a mut Expr, in_subquery: bool, found: &mut Vec<Found<'a>>) {
    match expr {
        Expr::VectorSelector(selector) => found.push(Found { selector, range: None, in_subquery }),
        Expr::MatrixSelector(matrix) => {
            found.push(Found { selector: &mut matrix.vs, range: Some(&mut matrix.range), in_subquery });
        }
        Expr::Aggregate(aggregate) => {
            if let Some(param) = &mut aggregate.param {
                collect(param, in_subquery, found);
            }
            collect(&mut aggregate.expr, in_subquery, found);
        }
        Expr::Binary(binary) => {
            collect(&mut binary.lhs, in_subquery, found);
            collect(&mut binary.rhs, in_subquery, found);
        }
        Expr::Call(call) => call.args.args.iter_mut().for_each(|arg| collect(arg, in_subquery, found)),
        Expr::Unary(unary) => collect(&mut unary.expr, in_subquery, found),
        Expr::Paren(paren) => collect(&mut paren.expr, in_subquery, found),
        Expr::Subquery(subquery) => collect(&mut subquery.expr, true, found),
        // The parser makes no extensions.
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
    }
}

/// What can be said of a text before it is parsed: enough that parsing it is safe.
struct Scanned {
    /// The text with `[$window]` as the sentinel.
    text: String,
    /// How many there were.
    windows: usize,
    /// How many strings have `$arm` in them.
    arms: usize,
}

impl Scanned {
    fn of(text: &str) -> Result<Self, BadQuery> {
        if text.chars().count() > LONGEST {
            return Err(BadQuery::TooLong);
        }
        let mut scanned = Self { text: String::with_capacity(text.len()), windows: 0, arms: 0 };
        let (mut rest, mut tokens, mut braces) = (text, 0, 0_usize);
        let (mut patterns, mut is_pattern) = (0, false);
        while let Some(c) = rest.chars().next() {
            let end = match c {
                '"' | '\'' | '`' => {
                    let end = string_end(rest, c);
                    if is_pattern {
                        patterns += 1;
                        is_small(&rest[..end])?;
                    }
                    scanned.arms += usize::from(rest[..end].contains("$arm"));
                    if rest[..end].contains("$window") {
                        return Err(BadQuery::Window);
                    }
                    end
                }
                '#' => rest.find('\n').unwrap_or(rest.len()),
                '[' => {
                    let end = rest.find(']').map_or(rest.len(), |at| at + 1);
                    let range = rest[1..end].trim_end_matches(']').trim();
                    if range == "$window" {
                        scanned.windows += 1;
                        scanned.text.push_str(SENTINEL_TEXT);
                        (rest, tokens) = (&rest[end..], tokens + 2);
                        continue;
                    }
                    if range.contains('$') {
                        return Err(BadQuery::Window);
                    }
                    if !is_plain(range) {
                        return Err(BadQuery::Range(range.chars().take(40).collect()));
                    }
                    end
                }
                '$' => return Err(BadQuery::Window),
                '@' => return Err(BadQuery::Clock),
                c if is_word(c) => {
                    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                    if braces == 0 && rest[..end].eq_ignore_ascii_case("offset") {
                        return Err(BadQuery::Clock);
                    }
                    end
                }
                c => {
                    braces = match c {
                        '{' => braces + 1,
                        '}' => braces.saturating_sub(1),
                        _ => braces,
                    };
                    c.len_utf8()
                }
            };
            tokens += usize::from(!c.is_whitespace());
            is_pattern = c == '~' || (is_pattern && (c.is_whitespace() || c == '#'));
            if tokens > MOST_TOKENS {
                return Err(BadQuery::TooComplex);
            }
            if patterns > MOST_PATTERNS {
                return Err(BadQuery::Patterns);
            }
            scanned.text.push_str(&rest[..end]);
            rest = &rest[end..];
        }
        Ok(scanned)
    }
}

/// A quoted pattern is one that the parser can be left to compile.
fn is_small(quoted: &str) -> Result<(), BadQuery> {
    let bad = |why| BadQuery::Pattern(quoted.chars().filter(|c| !c.is_control()).take(60).collect(), why);
    let pattern = unquote_string(quoted).map_err(|_| bad("is not a string"))?;
    match regex::RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(LARGEST_PATTERN).build() {
        Err(regex::Error::CompiledTooBig(_)) => Err(bad("is too large")),
        // Of what it cannot read the parser says more.
        _ => Ok(()),
    }
}

/// Where a string ends that begins the text, its closing quote included.
fn string_end(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Durations like 5m and 1h30m, and subqueries like 5m:30s, short enough to be within every reader's range.
fn is_plain(range: &str) -> bool {
    range.starts_with(|c: char| c.is_ascii_digit())
        && range.len() <= 12
        && range.chars().all(|c| c.is_ascii_digit() || "smhdwy:".contains(c))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == ':' || c == '.'
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Labels, arms::Told, tests::subject},
        *,
    };
    use crate::vocab::Arm;
    use proptest::prelude::*;

    fn written(query: &str, shared: &[&str]) -> Result<String, BadQuery> {
        let shared: Vec<_> = shared.iter().map(|&name| name.to_owned()).collect();
        let arm = Told::By(super::super::ArmLabel::Pod).matchers(&Labels::default(), &subject(), Arm::Canary);
        Query::parse(query, &shared)?.written(&arm, Duration::from_secs(30))
    }

    fn words(query: &str) -> String {
        written(query, &[]).unwrap_err().to_string()
    }

    #[test]
    fn a_pattern_that_would_take_megabytes_is_refused_before_it_is_compiled() {
        for quoted in [r#""\\w{99}""#, r#""\x5cw{99}""#, r"'\\pL{80}'", r"`\w{99}`", "# comment\n`\\w{99}`"] {
            let query = format!("rate(x{{arm=\"$arm\",a=~ {quoted}}}[$window])");
            assert!(
                words(&query).contains("too large") || words(&query).contains("not a string"),
                "{query}: {}",
                words(&query)
            );
        }
        let many: Vec<_> = (0..21).map(|at| format!("l{at}=~\"5..\"")).collect();
        assert!(
            words(&format!("rate(x{{arm=\"$arm\",{}}}[$window])", many.join(","))).contains("more than 20 patterns")
        );
        let usual = r#"rate(x{arm="$arm",a=~"5..|4..",b!~"(GET|POST) /api/v[0-9]+/.*",c=~"\\w+"}[$window])"#;
        assert!(written(usual, &[]).is_ok(), "{:?}", written(usual, &[]));
    }

    #[test]
    fn the_arm_and_the_window_are_written_into_every_selector() {
        assert_eq!(
            written(r#"sum(rate(errors_total{code=~"5..",arm="$arm"}[$window])) / sum(rate(requests_total{arm="$arm"}[ $window ]))"#, &[]),
            Ok(r#"sum(rate(errors_total{code=~"5..",namespace="demo",pod=~"app-7c9f-[a-z0-9]{5}"}[30s])) / sum(rate(requests_total{namespace="demo",pod=~"app-7c9f-[a-z0-9]{5}"}[30s]))"#.into())
        );
    }

    #[test]
    fn selectors_hide_nowhere() {
        for query in [
            r#"topk(scalar(hidden), x{arm="$arm"})"#,
            r#"quantile(scalar(sum(hidden)), x{arm="$arm"})"#,
            r#"x{arm="$arm"} > bool -hidden"#,
            r#"label_replace(hidden, "a", "$1", "b", "(.*)") + on() x{arm="$arm"}"#,
            r#"x{arm="$arm"} and (hidden)"#,
            r#"x{arm="$arm"} + max_over_time(hidden[5m:])"#,
        ] {
            assert_eq!(words(query), r#"hidden needs the matcher arm="$arm", or list its name in shared"#, "{query}");
            assert!(written(query, &["hidden"]).is_ok(), "{query}");
        }
    }

    #[test]
    fn shared_selectors_are_left_as_they_are() {
        let query = r#"sum(rate(cost_total{arm="$arm"}[$window])) / scalar(sum(rate(fleet_total{tier="a"}[5m])))"#;
        assert!(written(query, &["fleet_total"]).unwrap().contains(r#"fleet_total{tier="a"}[5m]"#));
        assert!(written(r#"{__name__="fleet_total"} * 2"#, &["fleet_total"]).is_ok());
        assert!(written(r#"{__name__=~"fleet_.*"} * 2"#, &["fleet_.*"]).is_err(), "names are listed one by one");
    }

    #[test]
    fn what_an_arm_must_be_is_said() {
        for query in [
            r#"x{arm!="$arm"}"#,
            r#"x{arm=~"$arm"}"#,
            r#"x{arm="canary"}"#,
            r#"x{arm="$arm",arm="$arm"}"#,
            r#"x{pod="$arm"}"#,
            r#"x{arm="$arm",pod=~"$arm-.*"}"#,
            r#"x{arm="\u0024arm"}"#,
            r#"label_replace(x{arm="$arm"}, "a", "$arm", "", "")"#,
        ] {
            assert!(words(query).contains(r#"arm="$arm""#), "{query}: {}", words(query));
        }
        assert!(words(r#"{arm="$arm"}"#).contains("names no metric"));
        assert!(words(r#"{__name__="x",arm="$arm" or arm="$arm"}"#).contains("by or"));
    }

    #[test]
    fn evidence_never_reaches_back() {
        for query in [r#"rate(x{arm="$arm"}[5m])"#, r#"max_over_time(x{arm="$arm"}[5m:])"#] {
            assert!(words(query).contains("may reach back"), "{query}: {}", words(query));
        }
        for query in [r#"x{arm="$arm"} offset 5m"#, r#"x{arm="$arm"} OFFSET 5m"#, r#"x{arm="$arm"} @ 1"#] {
            assert!(words(query).starts_with("offset and @"), "{query}: {}", words(query));
        }
        assert!(written(r#"x{arm="$arm",offset="7"}"#, &[]).is_ok(), "a label may be called so");
    }

    #[test]
    fn the_window_is_a_range_and_nothing_else() {
        for query in [
            r#"x{arm="$arm"} * $window"#,
            r#"x{arm="$arm",a="$window"}"#,
            r#"rate(x{arm="$arm"}[$window:])"#,
            "x[$win]",
        ] {
            assert_eq!(words(query), BadQuery::Window.to_string(), "{query}");
        }
        let sneaky = format!(r#"rate(x{{arm="$arm"}}{SENTINEL_TEXT})"#);
        assert!(written(&sneaky, &[]).is_err());
        assert_eq!(written("rate(y[5m]) # [$window]\n", &["y"]), Ok("rate(y[5m])".into()), "comments are no code");
    }

    #[test]
    fn what_the_parser_cannot_read_is_refused_and_named() {
        assert!(words("sum(").starts_with("is not read by the parser"));
        assert!(words("").starts_with("is not read by the parser"));
        assert!(words(r#"x{arm="$arm",a=~"(?!b)"}"#).starts_with("is not read by the parser"));
        assert_eq!(words(r#""text""#), BadQuery::NoNumber.to_string());
        assert_eq!(words(r#"x{arm="$arm"}[$window]"#), BadQuery::NoNumber.to_string());
    }

    #[test]
    fn absurd_texts_are_refused_before_they_are_parsed() {
        assert_eq!(written(&"x".repeat(2_001), &[]), Err(BadQuery::TooLong));
        for nested in ["(", "-", "x+", "abs(", "x^"] {
            assert_eq!(written(&nested.repeat(400), &[]), Err(BadQuery::TooComplex), "{nested}");
        }
        for range in ["[1e300]", "[99999999999999999999]", "[-5m]", "[]", "[a]"] {
            assert!(matches!(written(&format!("x{range}"), &[]), Err(BadQuery::Range(_))), "{range}");
        }
    }

    #[test]
    fn the_deepest_tree_that_is_let_through_fits_a_small_stack() {
        let deep = ["(".repeat(149) + "y" + &")".repeat(149), "-".repeat(298) + "y", "y+".repeat(149) + "y"];
        let walk = move || deep.iter().all(|query| written(query, &["y"]).is_ok());
        assert!(std::thread::Builder::new().stack_size(1 << 20).spawn(walk).unwrap().join().unwrap());
    }

    /// Pieces of which queries, and things that look like them, are made.
    const PIECES: &[&str] = &[
        "x",
        "y",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        "[$window]",
        "[5m]",
        "[5m:1m]",
        "arm=\"$arm\"",
        "a=~\"b.*\"",
        "=",
        "!~",
        "\"",
        "'",
        "`",
        "$arm",
        "$window",
        "sum",
        "rate",
        "by",
        "on",
        "ignoring",
        "group_left",
        "and",
        "or",
        "unless",
        "topk",
        "offset",
        "@",
        "bool",
        "1",
        "1e300",
        "0x",
        "99999999999999999999y",
        "inf",
        "NaN",
        "+",
        "-",
        "*",
        "/",
        "^",
        "%",
        ">",
        ",",
        ":",
        "#",
        "\n",
        "\\",
        "\\u12",
        "é",
        "\0",
        " ",
        " ",
        "quantile",
        "start()",
        "1d",
        "_",
        "..",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn no_query_panics(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..12)) {
            let _ = written(&pieces.concat(), &["y"]);
        }

        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = written(&text, &["y"]);
        }

        #[test]
        fn what_is_let_through_has_no_arm_and_no_window_left(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..6)) {
            let query = format!("x{{arm=\"$arm\"}} {}", pieces.join(" "));
            if let Ok(text) = written(&query, &["y"]) {
                prop_assert!(!text.contains("$arm") && !text.contains("$window") && !text.contains("997ms"), "{text}");
                prop_assert!(text.contains("namespace=\"demo\""), "{text}");
            }
        }
    }
}
