//! Evidence is of one revision and is counted once: what a status says follows from what Prometheus knows, however often
//! it was asked and whoever asked it.
use super::{Checks, Commit, Read, Value};
use crate::{
    api::Rollout,
    metrics::{self, ArmNames, Bursts, Metric, ProviderSpec, Seen, Subject},
    sim::{
        stage::NAME,
        world::{
            NAMESPACE,
            prometheus::{Asked, Prometheus},
        },
    },
};
use jiff::Timestamp;
use serde_json::json;
use std::collections::{BTreeSet, VecDeque};

/// One in so many of what is only another number is computed again; each verdict is.
const ONE_IN: u64 = 6;

/// What was seen of evidence.
#[derive(Clone, Default)]
pub(super) struct Evidence {
    /// The ReplicaSets of both arms, in the last flights.
    arms: VecDeque<BTreeSet<String>>,
    /// Of which evidence, and the strongest there was.
    strongest: Option<(String, f64)>,
    count: u64,
}

/// How strong evidence is that is written in words.
fn strength(words: &str) -> f64 {
    match words {
        "" | "none" => 0.0,
        words => words.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0.0),
    }
}

impl Checks {
    /// The operator wrote a Rollout's status.
    pub fn evidence(&mut self, commit: &Commit, prometheus: &mut Prometheus, at: u64) {
        let Some(after) = commit.after.clone().filter(|_| commit.name == NAME) else { return };
        let before = commit.before.clone().unwrap_or_default();
        self.one_revision(&after["status"], prometheus, at);
        let (old, status) = (&before["status"], &after["status"]);
        let since = old.text("/flight/evidenceSince");
        let same = status.text("/flight/revision") == old.text("/flight/revision");
        if since.is_empty() || !same || status["metrics"] == old["metrics"] || status["metrics"].is_null() {
            return;
        }
        let Ok(since) = since.parse::<Timestamp>() else { return };
        self.only_its_own(status, since, prometheus, at);
        self.never_weaker(status, since, prometheus, at);
        self.evidence.count += 1;
        let verdict = |status: &Value| status.text("/metrics/0/verdict").to_owned();
        if verdict(old) != verdict(status) || self.evidence.count.is_multiple_of(ONE_IN) {
            self.computed_again(&after, since, prometheus, at);
        }
    }

    /// Each answer was about pods of one flight's revisions, which are asked for together and read apart; and evidence begins
    /// with its flight.
    fn one_revision(&mut self, status: &Value, prometheus: &mut Prometheus, at: u64) {
        let arms =
            ["/stable/replicaSet", "/canary/replicaSet", "/flight/candidate"].map(|arm| status.text(arm).to_owned());
        let arms: BTreeSet<_> = arms.into_iter().filter(|set| !set.is_empty()).collect();
        if self.evidence.arms.back() != Some(&arms) {
            self.evidence.arms.push_back(arms);
            if self.evidence.arms.len() > 3 {
                self.evidence.arms.pop_front();
            }
        }
        for sets in std::mem::take(&mut prometheus.told_of) {
            if !self.evidence.arms.iter().any(|arms| sets.is_subset(arms)) {
                let what = format!("one answer was about {sets:?}, of {:?}", self.evidence.arms);
                self.wrong("S13 evidence is of one revision", at, what);
            }
        }
        let time = |pointer: &str| status.text(pointer).parse::<Timestamp>().ok();
        if let (Some(begun), Some(since)) = (time("/flight/startedAt"), time("/flight/evidenceSince"))
            && since < begun
            && !self.skewed
        {
            self.wrong("S13 evidence is of one revision", at, format!("it begins at {since}, before its flight"));
        }
    }

    /// No more was judged than the candidate's own pods have counted since its evidence began.
    fn only_its_own(&mut self, status: &Value, since: Timestamp, prometheus: &Prometheus, at: u64) {
        let counted = prometheus.counted(status.text("/flight/candidate"), since.as_millisecond());
        #[expect(clippy::cast_precision_loss, reason = "counts of a story")]
        let judged = status.number("/metrics/0/samples") as f64;
        if judged > counted {
            let what = format!("{judged} requests were judged, and its pods have had {counted} since {since}");
            self.wrong("S13 evidence is of one revision", at, what);
        }
    }

    /// What was once said against a candidate is not taken back, as long as Prometheus knows all that it knew.
    fn never_weaker(&mut self, status: &Value, since: Timestamp, prometheus: &Prometheus, at: u64) {
        let words = status.text("/metrics/0/evidence");
        if words.is_empty() || prometheus.unwell || self.skewed {
            return;
        }
        let of = format!("{} {since}", status.text("/flight/startedAt"));
        let now = strength(words);
        let strongest = self.evidence.strongest.take().filter(|(known, _)| *known == of).map_or(0.0, |(_, most)| most);
        if now < strongest {
            self.wrong("S14 evidence is counted once", at, format!("1 in {now} after 1 in {strongest}"));
        }
        self.evidence.strongest = Some((of, now.max(strongest)));
    }

    /// Who knows nothing of earlier looks computes the same from what Prometheus knows.
    fn computed_again(&mut self, rollout: &Value, since: Timestamp, prometheus: &Prometheus, at: u64) {
        let said = &rollout["status"]["metrics"][0];
        // A provider that is left alone for a moment is known by its last answer.
        let why = said.text("/why").split("; the provider is asked again").next().unwrap_or_default();
        let mut others = Vec::new();
        if prometheus.asked.iter().any(|asked| asked.once) {
            return;
        }
        for asked in prometheus.asked.iter().rev() {
            let Some(seen) = again(rollout, since, asked, prometheus) else { return };
            let words = |text: &Option<String>| text.clone().unwrap_or_default();
            let same = said.text("/verdict") == format!("{:?}", seen.verdict)
                && said.text("/canary") == words(&seen.canary)
                && said.text("/stable") == words(&seen.stable)
                && said.number("/samples").cast_unsigned() == seen.samples
                && why == seen.why.chars().take(500).collect::<String>();
            if same {
                return;
            }
            others.push(format!("{:?} {:?} {} {}", seen.verdict, seen.canary, seen.samples, seen.why));
        }
        if !others.is_empty() {
            self.wrong("S14 evidence is counted once", at, format!("{said}, and anew it is one of {others:#?}"));
        }
    }
}

/// The first metric of a Rollout, measured by somebody who knows nothing of earlier looks.
fn again(rollout: &Value, since: Timestamp, asked: &Asked, prometheus: &Prometheus) -> Option<Seen> {
    let metric: Metric = serde_json::from_value(json!({"name": "errors", "preset": "app/error-rate"})).ok()?;
    let provider = json!({"prometheus": {"url": "http://prometheus.monitoring.svc:9090", "scrapeInterval": "2s"}});
    let provider: ProviderSpec = serde_json::from_value(provider).ok()?;
    let mut whole: Rollout = serde_json::from_value(rollout.clone()).ok()?;
    whole.spec.analysis.metrics = vec![metric.clone()];
    let analysis = &whole.spec.analysis;
    let arm = |arm: &str| ArmNames {
        replica_set: rollout["status"][arm].text("/replicaSet").to_owned(),
        pod_template_hash: rollout["status"][arm].text("/podTemplateHash").to_owned(),
        service: format!("checkout-{arm}"),
    };
    let subject = Subject {
        namespace: NAMESPACE.to_owned(),
        stable: arm("stable"),
        canary: arm("canary"),
        port: 80,
        margins: analysis.margins_of(&metric),
        bursts: analysis.margins.and_then(|margins| margins.bursts).map(Bursts::Known),
        past: None,
        points: None,
        evidence_since: since,
        shared_since: None,
        delay: metric.initial_delay,
        now: Timestamp::from_millisecond(asked.at).ok()?,
    };
    let replies: Vec<metrics::Reply> = metrics::asks(&metric, &provider, &subject)
        .iter()
        .map(|ask| {
            let query = ask.fields().iter().find(|(key, _)| key == "query").map_or("", |(_, value)| value.as_str());
            let answer = prometheus.answer_in(asked.mood, query, asked.at);
            answer.map(|((status, body), _)| Ok((status, serde_json::to_vec(&body).unwrap_or_default())))
        })
        .collect::<Option<_>>()?;
    Some(metrics::read(&metric, &provider, &subject, &replies))
}
