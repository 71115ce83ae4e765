//! Texts with placeholders, which stand for names of one revision and for times. Whatever is put in stays in its place: it
//! begins no other segment, parameter or member.
use super::ArmNames;
use jiff::Timestamp;

/// What placeholders are called.
const KNOWN: [&str; 6] = ["namespace", "replicaSet", "podTemplateHash", "service", "since", "now"];
/// Those that tell the revisions apart.
const OF_ARM: [&str; 3] = ["replicaSet", "podTemplateHash", "service"];

/// What placeholders stand for in one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    pub namespace: &'a str,
    pub arm: &'a ArmNames,
    pub since: Timestamp,
    pub now: Timestamp,
}

impl Values<'_> {
    fn of(&self, name: &str) -> Option<String> {
        let value = match name {
            "namespace" => self.namespace.to_owned(),
            "replicaSet" => self.arm.replica_set.clone(),
            "podTemplateHash" => self.arm.pod_template_hash.clone(),
            "service" => self.arm.service.clone(),
            "since" => self.since.as_second().to_string(),
            "now" => self.now.as_second().to_string(),
            _ => return None,
        };
        (!value.is_empty()).then_some(value)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    Text(&'a str),
    /// A word in braces, without them.
    Placeholder(&'a str),
}

/// A text in order. Braces around anything but a word are text, as they are in JSON.
fn parts(text: &str) -> Vec<Part<'_>> {
    let (mut parts, mut rest, mut from) = (Vec::new(), text, 0);
    while let Some(open) = rest.get(from..).and_then(|behind| behind.find('{')).map(|at| from + at) {
        let behind = &rest[open + 1..];
        let length = behind.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(behind.len());
        if length > 0 && behind[length..].starts_with('}') {
            parts.extend([Part::Text(&rest[..open]), Part::Placeholder(&behind[..length])]);
            (rest, from) = (&behind[length + 1..], 0);
        } else {
            from = open + 1;
        }
    }
    parts.push(Part::Text(rest));
    parts.retain(|part| *part != Part::Text(""));
    parts
}

/// Whether a text tells the revisions apart.
pub(super) fn names_arm(text: &str) -> bool {
    OF_ARM.into_iter().any(|name| names(text, name))
}

/// Whether a text has this placeholder.
pub(super) fn names(text: &str, name: &str) -> bool {
    parts(text).contains(&Part::Placeholder(name))
}

fn filled(text: &str, value: impl Fn(&str) -> Option<String>, written: fn(&str) -> String) -> Result<String, String> {
    let mut whole = String::with_capacity(text.len());
    for part in parts(text) {
        match part {
            Part::Text(text) => whole.push_str(text),
            Part::Placeholder("service") if value("service").is_none() => {
                return Err("without spec.traffic.services there is nothing that {service} could stand for".into());
            }
            Part::Placeholder(name) if KNOWN.contains(&name) => match value(name) {
                Some(value) => whole.push_str(&written(&value)),
                None => return Err(format!("there is nothing yet that {{{name}}} could stand for")),
            },
            Part::Placeholder(name) => {
                let name: String = name.chars().take(40).collect();
                let known = KNOWN.map(|name| format!("{{{name}}}")).join(", ");
                return Err(format!("there is no {{{name}}}; there are {known}"));
            }
        }
    }
    Ok(whole)
}

/// What placeholders stand for where only the form of the whole matters.
#[expect(clippy::unnecessary_wraps, reason = "in place of what may stand for nothing")]
fn sample(name: &str) -> Option<String> {
    Some(if matches!(name, "since" | "now") { "1" } else { "x" }.to_owned())
}

/// Whether a path and query can be asked for, whatever its placeholders stand for; else the cure.
pub(super) fn check_path(path: &str) -> Result<(), String> {
    if !path.starts_with('/') || path.len() > 1_024 {
        return Err("write a path of at most 1024 characters that begins with /".into());
    }
    filled(path, sample, percent_encoded)?;
    for part in parts(path) {
        if let Part::Text(text) = part {
            plain(text)?;
        }
    }
    straight(&filled(path, sample, percent_encoded)?)
}

/// A path and query with values in place of placeholders.
pub(super) fn path(path: &str, values: &Values<'_>) -> Result<String, String> {
    let path = filled(path, |name| values.of(name), percent_encoded)?;
    straight(&path)?;
    Ok(path)
}

/// Whether a body is JSON, whatever its placeholders stand for; else the cure.
pub(super) fn check_body(body: &str) -> Result<(), String> {
    let body = filled(body, sample, within_quotes)?;
    serde_json::from_str::<serde::de::IgnoredAny>(&body).map(drop).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!(
            "is no JSON at line {line}, column {column}; placeholders other than {{since}} and {{now}} go into quotes"
        )
    })
}

/// A body with values in place of placeholders.
pub(super) fn body(body: &str, values: &Values<'_>) -> Result<String, String> {
    filled(body, |name| values.of(name), within_quotes)
}

/// Whether a part of a URL is sent as it is written.
pub(super) fn plain(text: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&()*+,;=:@/?%".contains(c);
    if let Some(odd) = text.chars().find(|c| !is_plain(*c)) {
        return Err(match odd {
            '{' | '}' => "has a brace that belongs to no placeholder; write %7B or %7D".into(),
            '#' => "leave out the # and what follows it".into(),
            odd if odd.is_ascii_graphic() => format!("write %{:02X} for {odd}", u32::from(odd)),
            _ => "write blanks and letters other than a to z percent-encoded, like %20".into(),
        });
    }
    let mut escapes = text.split('%').skip(1);
    let is_escape = |behind: &str| behind.get(..2).is_some_and(|two| two.chars().all(|c| c.is_ascii_hexdigit()));
    if escapes.all(is_escape) { Ok(()) } else { Err("has a % without two hexadecimal digits; write %25".into()) }
}

/// Whether a path leads nowhere but down.
pub(super) fn straight(path: &str) -> Result<(), String> {
    let path = path.split('?').next().unwrap_or_default().to_ascii_lowercase();
    // As a server reads it that decodes first, takes \ for / too, or passes over what stands behind a semicolon.
    let path = path.replace("%2e", ".").replace("%2f", "/").replace("%5c", "/").replace("%3b", ";");
    let mut names = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
    let is_straight = names.all(|name| name != "." && name != "..");
    if is_straight { Ok(()) } else { Err("leads out of the provider's URL: write it without . and ..".into()) }
}

/// RFC 3986, 2.3: what is left as it is has no meaning anywhere in a URL.
fn percent_encoded(value: &str) -> String {
    value.bytes().fold(String::with_capacity(value.len()), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push_str(&crate::signature::hex(&[byte]).to_ascii_uppercase());
        }
        text
    })
}

/// A value as it stands between the quotes of a text in JSON.
fn within_quotes(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use reqwest::Url;
    use serde_json::Value;

    fn arm(name: &str) -> ArmNames {
        ArmNames { replica_set: name.into(), pod_template_hash: "7c9f".into(), service: "app-canary".into() }
    }

    fn values<'a>(namespace: &'a str, arm: &'a ArmNames) -> Values<'a> {
        let at = |second| Timestamp::from_second(second).unwrap();
        Values { namespace, arm, since: at(1_795_246_800), now: at(1_795_246_860) }
    }

    #[test]
    fn every_placeholder_stands_for_something() {
        let all = "/{namespace}/{replicaSet}?hash={podTemplateHash}&to={service}&from={since}&until={now}";
        assert_eq!(check_path(all), Ok(()));
        assert_eq!(
            path(all, &values("demo", &arm("app-7c9f"))).unwrap(),
            "/demo/app-7c9f?hash=7c9f&to=app-canary&from=1795246800&until=1795246860"
        );
        let json = r#"{"of":"{replicaSet}","since":{since},"q":"{ score }","x":{}}"#;
        assert_eq!(check_body(json), Ok(()));
        assert_eq!(
            body(json, &values("demo", &arm("app-7c9f"))).unwrap(),
            r#"{"of":"app-7c9f","since":1795246800,"q":"{ score }","x":{}}"#
        );
        assert!(names_arm(all) && names(all, "service") && !names_arm("/{namespace}/{since}/replicaSet"));
    }

    #[test]
    fn an_unknown_placeholder_is_refused_with_those_there_are() {
        for refused in [check_path("/{rollout}"), check_body(r#"["{rollout}"]"#)] {
            let known = "{namespace}, {replicaSet}, {podTemplateHash}, {service}, {since}, {now}";
            assert_eq!(refused, Err(format!("there is no {{rollout}}; there are {known}")));
        }
    }

    #[test]
    fn paths_that_would_be_read_in_another_way_are_refused_with_the_cure() {
        for (path, cure) in [
            ("", "write a path"),
            ("score", "write a path"),
            ("@evil.example.com/", "write a path"),
            ("/a b", "write blanks"),
            ("/ä", "write blanks"),
            ("/a\\b", "write %5C for \\"),
            ("/a?x='1'", "write %27 for '"),
            ("/a#b", "leave out the #"),
            ("/{}", "has a brace"),
            ("/{now", "has a brace"),
            ("/now}", "has a brace"),
            ("/100%", "has a % without"),
            ("/%{now}", "has a % without"),
            ("/%2{now}", "has a % without"),
            ("/a/../b", "leads out"),
            ("/a/.%2E/b", "leads out"),
            ("/%2e%2e", "leads out"),
            ("/./b", "leads out"),
        ] {
            let refused = check_path(path).unwrap_err();
            assert!(refused.starts_with(cure), "{path}: {refused}");
        }
        for fine in ["/", "/a.b/..c?x=../y&z=%20?", "/api/v1/score:last(1)@now", "/{now}.json"] {
            assert_eq!(check_path(fine), Ok(()), "{fine}");
        }
    }

    #[test]
    fn bodies_that_are_no_json_are_refused_with_the_place() {
        for body in ["", "{", "{namespace}", r#"{"a":{service}}"#, r#"{"a":1{namespace}}"#, r#"{"a":"\{service}"}"#] {
            let refused = check_body(body).unwrap_err();
            assert!(refused.starts_with("is no JSON at line"), "{body}: {refused}");
        }
    }

    #[test]
    fn what_stands_for_nothing_is_said() {
        let none = ArmNames::default();
        let refused = path("/{service}", &values("demo", &none)).unwrap_err();
        assert!(refused.contains("without spec.traffic.services"), "{refused}");
        assert!(path("/{replicaSet}", &values("demo", &none)).is_err());
        assert!(path("/{replicaSet}", &values("demo", &arm(".."))).is_err(), "nor does a value lead upwards");
    }

    #[test]
    fn no_way_of_writing_it_leads_upwards() {
        for path in
            ["/v1/..%2fadmin", "/v1/%2E%2e%2Fadmin", "/v1/..%5cadmin", "/v1/..;x/admin", "/v1/..%3Bx/admin", "/v1/./x"]
        {
            assert!(check_path(path).unwrap_err().contains("without . and .."), "{path}");
        }
        for path in ["/v1/a%2fb", "/v1/a..b", "/v1/x;y=..", "/v1?of=../x"] {
            assert!(check_path(path).is_ok(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[ -~äß]{0,60}") {
            let names = arm("x");
            let _ = check_path(&text).map(|()| path(&text, &values("n", &names)).unwrap());
            let _ = check_body(&text).map(|()| body(&text, &values("n", &names)).unwrap());
        }

        #[test]
        fn a_path_that_is_let_through_is_sent_as_it_is(text in "/[-a-zA-Z0-9._~!$&'()*+,;=:@/?%{}|^`\"<>\\[\\]\\\\ #]{0,30}") {
            let names = arm("x");
            if check_path(&text).is_ok() {
                let path = path(&text, &values("n", &names)).unwrap();
                let url = Url::parse(&format!("https://host{path}")).unwrap();
                prop_assert_eq!(url.as_str(), format!("https://host{path}"));
                prop_assert_eq!(url.host_str(), Some("host"));
            }
        }

        #[test]
        fn no_value_breaks_out_of_its_place_in_a_url(namespace in "\\PC{1,20}|[./?&=#%@:\\\\]{1,6}", name in any::<String>()) {
            prop_assume!(!name.is_empty());
            let arm = arm(&name);
            let Ok(path) = path("/v1/{namespace}/s-{replicaSet}?of={replicaSet}&at={now}", &values(&namespace, &arm)) else {
                let leads_up = |text: &str| text.split(['/', '\\', ';']).any(|part| part == "." || part == "..");
                prop_assert!(leads_up(&namespace) || leads_up(&["s-", &name].concat()));
                return Ok(());
            };
            let url = Url::parse(&format!("https://host/base{path}")).unwrap();
            prop_assert_eq!(url.as_str(), format!("https://host/base{path}"));
            prop_assert_eq!((url.host_str(), url.port(), url.fragment()), (Some("host"), None, None));
            prop_assert_eq!(url.path_segments().unwrap().count(), 4);
            let pairs: Vec<_> = url.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
            prop_assert_eq!(pairs, [("of".to_owned(), name), ("at".to_owned(), "1795246860".to_owned())]);
        }

        #[test]
        fn no_value_breaks_out_of_its_place_in_a_body(namespace in any::<String>(), name in any::<String>()) {
            prop_assume!(!name.is_empty() && !namespace.is_empty());
            let arm = arm(&name);
            let text = body(r#"{"a":"{namespace}-{replicaSet}","b":["{replicaSet}"]}"#, &values(&namespace, &arm)).unwrap();
            let read: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(read, serde_json::json!({"a": format!("{namespace}-{name}"), "b": [name]}));
        }
    }
}
