//! A web endpoint: anything that answers a request with JSON in which there is a number.
//!
//! It has no history. So each look is one number, and the looks at one release are handed back with the next one: when an
//! operator restarts, they are counted anew.
use super::{
    Ask, Auth, Complaint, Header, How, Look, Looks, Metric, NoReply, Outcome, Reach, Reply, Seen, SigningKey, Source, Subject,
    answer::{Part, Trouble},
    held::{self, Held, Noun},
    reach,
    template::{self, Values},
};
use crate::{duration::Duration, vocab::Arm};
use jiff::Timestamp;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// An answer is not read beyond so many bytes.
const ANSWER_CAP: usize = 1024 * 1024;
const LOOKS: Noun = Noun { one: "look", many: "looks" };

/// Anything that answers a request with JSON in which there is a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.body) || (has(self.method) && self.method == 'POST')").message("a body goes with method: POST"))]
pub struct Web {
    /// Where it is, like <https://scores.example.com/v1>, without a query; a metric's `web.path` is appended.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^https?://[^\s?#]+$"))]
    pub url: String,
    /// How it is asked. Default GET.
    #[serde(default)]
    pub method: Method,
    /// Headers that each request carries, besides Accept, which is application/json where nothing else is said. Secrets
    /// do not belong here: write auth or hmac.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub headers: Vec<Header>,
    /// What is posted: JSON, with the placeholders of a metric's `web.path`, in quotes but for `{since}` and `{now}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8192))]
    pub body: Option<String>,
    /// Credentials that each request carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// The key that each request is signed with. Its header `X-Bellwether-Signature` is
    /// `v1=hex(HMAC-SHA256(key, timestamp + "." + method + "." + path + "." + hex(SHA-256(body))))`, with the timestamp
    /// (seconds since 1970) of the header `X-Bellwether-Timestamp`, GET or POST, and the path with the query as they stand
    /// in the request. The endpoint computes the same, compares in constant time, and refuses what is older than 300 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hmac: Option<Hmac>,
    /// Certificates in PEM that the server's must descend from, instead of those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub ca_bundle: Option<String>,
    /// How long one request may take, at most 30s. Default 5s.
    #[serde(default = "timeout")]
    pub timeout: Duration,
}

/// How an endpoint is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// To read.
    #[default]
    Get,
    /// With a body.
    Post,
}

/// A key that requests are signed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hmac {
    /// The entry of a Secret whose bytes, as they are, are the key. 32 random bytes or more are advised.
    pub secret_ref: SigningKey,
}

/// A number in what a web endpoint answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebOf {
    /// The path below the provider's URL, perhaps with a query, like `/score?of={replicaSet}&from={since}`. There are
    /// `{namespace}`; `{replicaSet}`, `{podTemplateHash}` and `{service}` of the canary, or of stable when `when` asks for
    /// stable's number; `{since}`, the seconds since 1970 at which evidence begins; and `{now}`.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^(/|\{\{)"))]
    pub path: String,
    /// Where in the answer the number is: a JSON pointer (RFC 6901) like /data/score, or /results/0/value for the first
    /// of a list. Texts are read as numbers, true as 1, false as 0. Default: the whole answer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 500), regex(pattern = r"^(/|\{\{|$)"))]
    pub result: String,
}

fn timeout() -> Duration {
    reach::TIMEOUT
}

impl WebOf {
    pub(super) fn check(&self) -> Result<(), Complaint> {
        let value = |field, cure: String| Err(Complaint::Value { field, cure });
        if let Err(cure) = template::check_path(&self.path) {
            return value("web.path", cure);
        }
        let is_escape = |behind: &str| behind.starts_with(['0', '1']);
        if !(self.result.is_empty() || self.result.starts_with('/')) || self.result.chars().count() > 500 {
            return value("web.result", "write a JSON pointer, like /data/score for $.data.score".into());
        }
        if !self.result.split('~').skip(1).all(is_escape) {
            return value("web.result", "write ~0 for ~ and ~1 for / in a name".into());
        }
        Ok(())
    }

    /// Whether it tells the revisions apart by their Services.
    pub(super) fn names_service(&self) -> bool {
        template::names(&self.path, "service")
    }
}

impl Web {
    /// The requests of one look: of the canary, and of stable where its number is asked for.
    fn requests(&self, of: &WebOf, metric: &Metric, subject: &Subject) -> Result<Vec<Ask>, Complaint> {
        let arms = if metric.names_stable() { &[Arm::Canary, Arm::Stable][..] } else { &[Arm::Canary] };
        let asks = arms.iter().map(|arm| self.request(of, subject, *arm)).collect::<Result<Vec<_>, _>>()?;
        if let [canary, stable] = asks.as_slice()
            && canary == stable
        {
            return Err(same_for_both());
        }
        Ok(asks)
    }

    fn request(&self, of: &WebOf, subject: &Subject, arm: Arm) -> Result<Ask, Complaint> {
        let arm = match arm {
            Arm::Canary => &subject.canary,
            Arm::Stable => &subject.stable,
        };
        let values = Values { namespace: &subject.namespace, arm, since: since(subject), now: subject.now };
        let complain = |field| move |cure| Complaint::Value { field, cure };
        let path = template::path(&of.path, &values).map_err(complain("web.path"))?;
        let body = self.body.as_ref().map(|body| template::body(body, &values)).transpose();
        let body = body.map_err(complain("the provider's web.body"))?;
        let mut headers: Vec<_> =
            self.headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect();
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("accept")) {
            headers.push(("Accept".to_owned(), "application/json".to_owned()));
        }
        let how = match self.method {
            Method::Get => How::Get,
            Method::Post => How::Post(body),
        };
        Ok(Ask { path, headers, how, selection: None, holds: 1 })
    }

    /// What tells numbers of one question from those of another.
    fn question(&self, of: &WebOf, metric: &Metric) -> u64 {
        let mut hasher = DefaultHasher::new();
        let what = (&self.url, self.method, &self.headers, &self.body, &of.path, &of.result, metric.names_stable());
        what.hash(&mut hasher);
        hasher.finish()
    }

    /// What is remembered of earlier looks that counts for this one.
    fn looks(&self, of: &WebOf, metric: &Metric, subject: &Subject) -> Looks {
        Looks::of(self.question(of, metric), subject.points.as_ref(), since(subject), subject.now)
    }

    fn look(&self, of: &WebOf, metric: &Metric, subject: &Subject, parts: &[Part]) -> Result<Seen, Trouble> {
        let mut looks = self.looks(of, metric, subject);
        if looks.is_due(subject.now, metric.interval) && !is_finished(metric, &looks) {
            let of_arm = |arm: &str, part: Option<&Part>| {
                number(part.and_then(Part::reply), &of.result).map_err(|trouble| said_of(arm, trouble))
            };
            let canary = of_arm("the canary", parts.first())?;
            let stable = metric.names_stable().then(|| of_arm("stable", parts.get(1))).transpose()?;
            looks.push(Look { at: subject.now, canary, stable });
        }
        let Held { kept, is_judged, why, unit } = judged(metric, &looks);
        let last = looks.all().last().copied();
        let canary = last.map(|last| unit.show(last.canary));
        let stable = last.and_then(|last| last.stable).map(|stable| unit.show(stable));
        let seen = if is_judged || kept.verdict == crate::vocab::Verdict::Fail {
            let samples = u64::from(kept.judged);
            Seen { verdict: kept.verdict, usable: is_judged, samples, ..Seen::nothing(Outcome::Measured, why) }
        } else {
            Seen::nothing(Outcome::Unusable, "the conditions say nothing of the newest look")
        };
        Ok(Seen { canary, stable, failures: kept.failures, points: Some(looks), ..seen })
    }
}

/// Whether nothing more is to be asked.
fn is_finished(metric: &Metric, looks: &Looks) -> bool {
    metric.count.is_some() && judged(metric, looks).kept.finished
}

fn judged(metric: &Metric, looks: &Looks) -> Held {
    held::judge(metric, LOOKS, looks.all().iter().map(|look| (look.canary, look.stable)))
}

fn said_of(arm: &str, trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Unreachable(why) => Trouble::Unreachable(format!("of {arm}: {why}")),
        Trouble::Unusable(why) => Trouble::Unusable(format!("of {arm}: {why}")),
    }
}

/// When the evidence of this metric begins.
pub(super) fn since(subject: &Subject) -> Timestamp {
    let delay = i64::try_from(subject.delay.as_millis()).unwrap_or(0);
    let since = subject.evidence_since.as_millisecond().saturating_add(delay);
    Timestamp::from_millisecond(since).unwrap_or(Timestamp::MAX)
}

fn same_for_both() -> Complaint {
    let cure =
        "asks the same of stable as of the canary: write {replicaSet}, {podTemplateHash} or {service}, or leave stable out of when";
    Complaint::Value { field: "web.path", cure: cure.into() }
}

impl Source for Web {
    fn check(&self) -> Result<(), Complaint> {
        let value = |field, cure: &str| Err(Complaint::Value { field, cure: cure.into() });
        if let Some(cure) = reach::bad_url(&self.url) {
            return value("web.url", cure);
        }
        let behind = self.url.split_once("://").map_or("", |(_, behind)| behind);
        let path = behind.find('/').map_or("", |at| &behind[at..]);
        if let Err(cure) = template::plain(path).and_then(|()| template::straight(path)) {
            return value("web.url", &cure);
        }
        if let Some(cure) = reach::bad_auth(self.auth.as_ref()) {
            return value("web.auth", cure);
        }
        if let Some(cure) = reach::bad_timeout(self.timeout) {
            return value("web.timeout", cure);
        }
        if let Some(body) = &self.body {
            if self.method == Method::Get || body.len() > 8_192 {
                return value("web.body", "goes with method: POST, and has at most 8192 characters");
            }
            if let Err(cure) = template::check_body(body) {
                return value("web.body", &cure);
            }
        }
        reach::bad_headers(&self.headers).map_or(Ok(()), |cure| value("web.headers", &cure))
    }

    fn fits(&self, metric: &Metric) -> Result<(), Complaint> {
        let Some(of) = &metric.web else {
            let there = [("query", metric.query.is_some()), ("scores", metric.scores.is_some())];
            let field = there.into_iter().find(|(_, is_there)| *is_there).map_or("preset", |(field, _)| field);
            let cure = "the provider is a web endpoint: write web: {path: ...}, or name a provider that has prometheus";
            return Err(Complaint::Value { field, cure: cure.into() });
        };
        let tells = template::names_arm(&of.path) || self.body.as_deref().is_some_and(template::names_arm);
        if metric.names_stable() && !tells { Err(same_for_both()) } else { Ok(()) }
    }

    fn asks(&self, metric: &Metric, subject: &Subject) -> Vec<Ask> {
        let Some(of) = metric.web.as_ref().filter(|_| subject.now >= since(subject)) else { return Vec::new() };
        let looks = self.looks(of, metric, subject);
        if !looks.is_due(subject.now, metric.interval) || is_finished(metric, &looks) {
            return Vec::new();
        }
        self.requests(of, metric, subject).unwrap_or_default()
    }

    fn read(&self, metric: &Metric, subject: &Subject, parts: &[Part]) -> Seen {
        let Some(of) = &metric.web else { return Seen::invalid("web: there is no path") };
        if let Err(complaint) = self.requests(of, metric, subject) {
            return Seen::invalid(complaint.to_string());
        }
        if subject.now < since(subject) {
            return Seen::nothing(Outcome::Empty, "the evidence of this metric has not begun yet");
        }
        self.look(of, metric, subject, parts).unwrap_or_else(Seen::from)
    }

    fn reach(&self) -> Reach<'_> {
        Reach {
            url: &self.url,
            auth: self.auth.as_ref(),
            headers: &[], // each question has them, beside its own
            hmac: self.hmac.as_ref().map(|hmac| &hmac.secret_ref),
            ca_bundle: self.ca_bundle.as_deref(),
            timeout: self.timeout.min(reach::LONGEST),
            answer_cap: ANSWER_CAP,
        }
    }
}

/// The number that an answer has at this place.
fn number(reply: Option<&Reply>, pointer: &str) -> Result<f64, Trouble> {
    let whole = json(reply)?;
    let unusable = |why: String| Err(Trouble::Unusable(why));
    let place = if pointer.is_empty() { "the answer".to_owned() } else { format!("{pointer} in the answer") };
    let Some(found) = whole.pointer(pointer) else {
        let mut before = pointer.rmatch_indices('/').map(|(at, _)| &pointer[..at]);
        let near = before.find_map(|before| Some((before, whole.pointer(before)?)));
        let near = near.map_or_else(String::new, |(before, found)| {
            format!(": {} is {}", if before.is_empty() { "the whole" } else { before }, described(found))
        });
        return unusable(format!("there is no {place}{near}"));
    };
    let number = match found {
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    match number.filter(|number| number.is_finite()) {
        Some(number) => Ok(number),
        None => unusable(format!("{place} is {}, which is no number", described(found))),
    }
}

/// What is there, without showing it: the answer of an endpoint is nobody's to read but the operator's.
fn described(found: &Value) -> String {
    match found {
        Value::Null => "null".into(),
        Value::Bool(_) => "true or false".into(),
        Value::Number(_) => "a number".into(),
        Value::String(text) => format!("a text of {} characters", text.chars().count()),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(members) => format!("an object with {} members", members.len()),
    }
}

fn json(reply: Option<&Reply>) -> Result<Value, Trouble> {
    let (status, body) = match reply {
        None => return Err(Trouble::Unreachable("the endpoint was not asked".into())),
        Some(Err(NoReply::Unreachable(why))) => return Err(Trouble::Unreachable(why.chars().take(200).collect())),
        Some(Err(too_long @ NoReply::TooLong(_))) => {
            return Err(Trouble::Unusable(format!("{too_long}: let web.path lead to a shorter one")));
        }
        Some(Ok((status, body))) => (*status, body),
    };
    let hint = match status {
        200..=299 => {
            return serde_json::from_slice(body).map_err(|error| {
                let (line, column) = (error.line(), error.column());
                Trouble::Unusable(format!("the answer is no JSON at line {line}, column {column}"))
            });
        }
        300..=399 => ": redirects are not followed; write the address that it leads to into the provider's web.url",
        401 | 403 => ": it refuses our credentials; correct what the provider's web.auth or web.hmac names",
        404 => ": correct web.path, or the provider's web.url",
        405 => ": correct the provider's web.method",
        _ => "",
    };
    let why = format!("the endpoint answered HTTP {status}{hint}");
    let passing = matches!(status, 408 | 425 | 429) || status >= 500;
    Err(if passing { Trouble::Unreachable(why) } else { Trouble::Unusable(why) })
}

#[cfg(test)]
mod tests;
