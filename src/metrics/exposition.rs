//! What a pod answers at its page of metrics: the text format of Prometheus, and of OpenMetrics as far as it is the same.
//!
//! It is read strictly and within bounds, for whoever wrote it is whoever wrote the release on trial: a page that breaks
//! the format or a bound is refused as a whole, as Prometheus does it. Times that a page gives are not used, for what
//! counts is when it was read; nor are exemplars. <https://prometheus.io/docs/instrumenting/exposition_formats/>
use std::collections::HashMap;

/// So many lines are read.
const MOST_LINES: usize = 500_000;
/// The length of a line in bytes.
const LONGEST_LINE: usize = 64 * 1_024;
/// So many labels a series may have.
const MOST_LABELS: usize = 64;
/// So many series are taken of one page.
const MOST_SERIES: usize = 20_000;

/// Why a page is refused. None repeats what stands in it: that is nobody's to read but the operator's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadPage {
    /// It is no text.
    #[error("is no UTF-8")]
    NoText,
    /// A line breaks the format.
    #[error("line {line} is no sample: {why}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It has too many lines.
    #[error("has more than {MOST_LINES} lines")]
    Lines,
    /// It has too many of the series that are wanted.
    #[error("has more than {MOST_SERIES} of the series that are asked for")]
    Series,
}

/// One sample: its labels, the name among them as `__name__`, and its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub labels: HashMap<String, String>,
    pub value: f64,
}

/// The samples of those series whose names are wanted.
///
/// # Errors
/// The first line that breaks the format, or the bound that is broken.
pub(super) fn read(page: &[u8], wanted: impl Fn(&str) -> bool) -> Result<Vec<Sample>, BadPage> {
    let text = std::str::from_utf8(page).map_err(|_| BadPage::NoText)?;
    let mut samples = Vec::new();
    for (at, line) in text.split('\n').enumerate() {
        if at >= MOST_LINES {
            return Err(BadPage::Lines);
        }
        let wrong = |why| BadPage::Line { line: at + 1, why };
        if line.len() > LONGEST_LINE {
            return Err(wrong("it is too long"));
        }
        let line = line.trim_matches(BLANK);
        if line == "# EOF" {
            break;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, rest) = line.split_at(line.find(|c| !is_of_name(c)).unwrap_or(line.len()));
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(wrong("it begins with no name"));
        }
        if !wanted(name) {
            continue;
        }
        if samples.len() >= MOST_SERIES {
            return Err(BadPage::Series);
        }
        samples.push(sample(name, rest).map_err(wrong)?);
    }
    Ok(samples)
}

const BLANK: [char; 3] = [' ', '\t', '\r'];

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// What follows a name: labels, where there are any, and a value; a time and an exemplar may follow.
fn sample(name: &str, rest: &str) -> Result<Sample, &'static str> {
    let mut labels = HashMap::from([("__name__".to_owned(), name.to_owned())]);
    let mut rest = rest.trim_start_matches(BLANK);
    if let Some(inner) = rest.strip_prefix('{') {
        rest = read_labels(inner, &mut labels)?;
    }
    let mut words = rest.split(BLANK).filter(|word| !word.is_empty());
    let value = words.next().and_then(number).ok_or("it has no value")?;
    // Behind the value there is a time in either format, or an exemplar that begins with its sign.
    let time = words.next();
    if time.is_some_and(|time| time != "#" && number(time).is_none()) {
        return Err("behind its value there is something else than a time");
    }
    if time != Some("#") && words.next().is_some_and(|word| word != "#") {
        return Err("behind its time there is something else");
    }
    Ok(Sample { labels, value })
}

/// Reads labels up to the closing brace, and returns what is behind it.
fn read_labels<'a>(mut rest: &'a str, labels: &mut HashMap<String, String>) -> Result<&'a str, &'static str> {
    loop {
        rest = rest.trim_start_matches(BLANK);
        if let Some(behind) = rest.strip_prefix('}') {
            return Ok(behind);
        }
        let end = rest.find(|c| !is_of_name(c) || c == ':').ok_or("its labels do not end")?;
        let (label, behind) = rest.split_at(end);
        if label.is_empty() || label.starts_with(|c: char| c.is_ascii_digit()) || label == "__name__" {
            return Err("a label has no name");
        }
        let behind = behind.trim_start_matches(BLANK).strip_prefix('=').ok_or("a label has no value")?;
        let behind = behind.trim_start_matches(BLANK).strip_prefix('"').ok_or("a label's value has no quotes")?;
        let (value, behind) = quoted(behind)?;
        if labels.insert(label.to_owned(), value).is_some() {
            return Err("a label is there twice");
        }
        if labels.len() > MOST_LABELS + 1 {
            return Err("it has too many labels");
        }
        let behind = behind.trim_start_matches(BLANK);
        rest = match behind.strip_prefix(',') {
            Some(behind) => behind,
            None if behind.starts_with('}') => behind,
            None => return Err("between two labels there is no comma"),
        };
    }
}

/// A value up to its closing quote, and what is behind that.
fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                // As Prometheus reads it.
                Some((_, other)) => value.extend(['\\', other]),
                None => break,
            },
            c => value.push(c),
        }
    }
    Err("a label's value does not end")
}

/// A number as Go's `ParseFloat` reads it in this format; Rust's parser knows the same words for what is no number.
fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(page: &str) -> Result<Vec<Sample>, BadPage> {
        read(page.as_bytes(), |_| true)
    }

    fn one(line: &str) -> Sample {
        let mut samples = all(line).unwrap();
        assert_eq!(samples.len(), 1, "{line}");
        samples.remove(0)
    }

    fn why(page: &str) -> String {
        all(page).unwrap_err().to_string()
    }

    /// From the documentation of the format.
    const PAGE: &str = r#"# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9

# Minimalistic line:
metric_without_timestamp_and_labels 12.47

# A weird metric from before the epoch:
something_weird{problem="division by zero"} +Inf -3982045

# A histogram, which has a pretty complex representation in the text format:
# HELP http_request_duration_seconds A histogram of the request duration.
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{le="0.05"} 24054
http_request_duration_seconds_bucket{le="+Inf"} 144320
http_request_duration_seconds_sum 53423
http_request_duration_seconds_count 144320
"#;

    #[test]
    fn the_page_of_the_documentation_is_read() {
        let samples = all(PAGE).unwrap();
        assert_eq!(samples.len(), 9);
        assert_eq!(samples[0].labels["code"], "200");
        assert_eq!(samples[2].labels["error"], "Cannot find file:\n\"FILE.TXT\"");
        assert_eq!(samples[2].labels["path"], r"C:\DIR\FILE.TXT");
        assert!(samples[4].value.is_infinite() && (samples[3].value - 12.47).abs() < 1e-9);
        assert_eq!(samples[5].labels["le"], "0.05");
        let wanted = read(PAGE.as_bytes(), |name| name.ends_with("_bucket")).unwrap();
        assert_eq!(wanted.len(), 2, "nothing else is kept");
    }

    #[test]
    fn open_metrics_is_read_up_to_its_end_without_exemplars() {
        let page = "# TYPE foo histogram\nfoo_bucket{le=\"0.01\"} 0\nfoo_bucket{le=\"0.1\"} 8 # {} 0.054\n\
                    foo_bucket{le=\"1.0\"} 11.0 1520879607.789 # {trace_id=\"Kp \"} 0.67 1520879607\n# EOF\nnonsense";
        let values: Vec<_> = all(page).unwrap().into_iter().map(|sample| sample.value).collect();
        assert_eq!(values, [0.0, 8.0, 11.0]);
    }

    #[test]
    fn blanks_are_allowed_where_the_format_has_them() {
        let sample = one("  a:b_total { x = \"1\" , y=\"}{\" , }\t7\r");
        assert_eq!((sample.labels["x"].as_str(), sample.labels["y"].as_str(), sample.labels.len()), ("1", "}{", 3));
        assert!(one("a{} NaN").value.is_nan());
    }

    #[test]
    fn what_breaks_the_format_is_refused_with_its_line_and_nothing_of_it() {
        for (line, part) in [
            ("a", "no value"),
            ("a b", "no value"),
            ("{a=\"secret\"} 1", "no name"),
            ("1a 2", "no name"),
            ("a{b} 1", "has no value"),
            ("a{b=c} 1", "no quotes"),
            ("a{b=\"secret} 1", "does not end"),
            ("a{b=\"secret\"", "no comma"),
            ("a{b=\"c\" d=\"e\"} 1", "no comma"),
            ("a{b=\"c\",b=\"d\"} 1", "twice"),
            ("a{=\"c\"} 1", "a label has no name"),
            ("a{__name__=\"c\"} 1", "a label has no name"),
            ("a 1 b", "than a time"),
            ("a 1 2 3", "behind its time"),
        ] {
            let why = why(&format!("ok 1\n{line}\n"));
            assert!(why.starts_with("line 2 is no sample: ") && why.contains(part), "{line}: {why}");
            assert!(!why.contains("secret"), "{why}");
        }
        assert_eq!(read(&[0xff], |_| true), Err(BadPage::NoText));
    }

    #[test]
    fn every_bound_is_kept() {
        let labels = |n: usize| (0..n).map(|i| format!("l{i}=\"\"")).collect::<Vec<_>>().join(",");
        assert_eq!(one(&format!("a{{{}}} 1", labels(MOST_LABELS))).labels.len(), MOST_LABELS + 1);
        assert!(why(&format!("a{{{}}} 1", labels(MOST_LABELS + 1))).contains("too many labels"));
        assert!(why(&format!("a{{b=\"{}\"}} 1", "x".repeat(LONGEST_LINE))).contains("too long"));
        assert_eq!(all(&"a 1\n".repeat(MOST_SERIES + 1)), Err(BadPage::Series));
        assert_eq!(read("\n".repeat(MOST_LINES + 1).as_bytes(), |_| true), Err(BadPage::Lines));
    }

    proptest! {
        #[test]
        fn no_page_panics(page in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&page, |_| true);
        }

        #[test]
        fn no_broken_page_panics(cut in 0usize..900, with in "[{}\"\\\\,=# a1\n]{0,4}") {
            let cut = (0..=cut.min(PAGE.len())).rev().find(|at| PAGE.is_char_boundary(*at)).unwrap();
            let _ = all(&format!("{}{with}{}", &PAGE[..cut], &PAGE[cut..]));
            let _ = all(&format!("{}{with}", &PAGE[..cut]));
        }

        #[test]
        fn any_value_of_a_label_is_read_back(value in "[^\r]{0,40}") {
            let escaped = value.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"");
            let sample = one(&format!("a{{b=\"{escaped}\"}} 1"));
            prop_assert_eq!(&sample.labels["b"], &value);
        }
    }
}
