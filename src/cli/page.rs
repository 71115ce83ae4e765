//! The page that explains a Rollout: where it stands, what it waits for, what was measured, and what can be done.
//!
//! A page is text; printing it is for `render`.
use super::{
    errors::full_name,
    render::{Cell, Paint, Tone, plain, span, table},
};
use crate::{
    api::{ActionOutcome, ArmStatus, HeldBy, Phase, Reason, Rollout, RolloutStatus, Sort, Step},
    duration::Duration,
    plan::{STEPS_EDITED, UNDERPOWERED},
    traffic::Split,
    vocab::Verdict,
};
use jiff::Timestamp;
use kube::ResourceExt;
use std::fmt::Write;

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// When.
    pub now: Timestamp,
    /// In which colours.
    pub paint: Paint,
    /// The flags with which the plugin finds this Rollout again, with a blank before each.
    pub flags: &'a str,
    /// How many decisions are shown, the last ones.
    pub decisions: usize,
    /// The Deployment's generation, if it was looked at.
    pub generation: Option<i64>,
}

/// The colour of a phase.
pub fn tone_of(phase: Phase) -> Option<Tone> {
    match phase {
        Phase::Stable => Some(Tone::Good),
        Phase::Blocked | Phase::Aborting | Phase::Aborted | Phase::Invalid => Some(Tone::Bad),
        Phase::Paused | Phase::AwaitingApproval | Phase::Waiting => Some(Tone::Busy),
        Phase::Initializing | Phase::Progressing | Phase::Promoting => None,
    }
}

/// The revision that commands are about: what is on trial, else what was given up.
pub fn revision_on_trial(status: &RolloutStatus) -> Option<&str> {
    let canary = || status.canary.as_ref().map(|canary| canary.revision.as_str());
    status.in_question().or_else(canary)
}

/// Whether a release is on trial whose steps are no longer those of the spec.
pub fn has_edited_steps(rollout: &Rollout) -> bool {
    let status = rollout.status.as_ref().filter(|status| status.latch.is_none());
    let flight = status.and_then(|status| status.flight.as_ref()).filter(|flight| flight.promotion.is_none());
    flight.is_some_and(|flight| flight.steps != rollout.spec.steps)
}

/// The state in one line, for logs.
pub fn summary(rollout: &Rollout) -> String {
    let Some(status) = &rollout.status else { return "the operator has not looked at it yet".to_owned() };
    let message = plain(&status.message);
    let phase = if rollout.metadata.deletion_timestamp.is_some() {
        "Deleting".to_owned()
    } else {
        format!("{:?}", status.phase)
    };
    if message.is_empty() { phase } else { format!("{phase}: {message}") }
}

/// The whole page.
pub fn page(rollout: &Rollout, look: &Look<'_>) -> String {
    let mut page = Page { text: String::new(), look };
    page.head(rollout);
    if let Some(status) = &rollout.status {
        page.arms(rollout, status);
        page.steps(rollout, status);
        page.metrics(status);
        page.waiting(status);
        page.decisions(status);
        page.rest(status);
    }
    page.next(rollout);
    page.text
}

struct Page<'a> {
    text: String,
    look: &'a Look<'a>,
}

impl Page<'_> {
    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn field(&mut self, name: &str, text: &str) {
        let _ = writeln!(self.text, "{name:<11} {text}");
    }

    fn section(&mut self, title: &str, rows: &[Vec<Cell>]) {
        let title = self.look.paint.paint(Tone::Strong, title);
        let rows = table(rows, "  ", self.look.paint);
        let _ = write!(self.text, "\n{title}\n{rows}");
    }

    fn ago(&self, since: Timestamp) -> String {
        span(since, self.look.now)
    }

    fn head(&mut self, rollout: &Rollout) {
        let paint = self.look.paint;
        let name = paint.paint(Tone::Strong, &full_name(rollout));
        let Some(status) = &rollout.status else {
            self.line(&format!("Rollout {name}: not looked at yet"));
            self.line("The operator has written no status; is it running?");
            return;
        };
        let phase = format!("{:?}", status.phase);
        let phase = tone_of(status.phase).map_or_else(|| phase.clone(), |tone| paint.paint(tone, &phase));
        self.line(&format!("Rollout {name}: {phase}"));
        if !status.message.is_empty() {
            self.line(&plain(&status.message));
        }
        if let Some(since) = &rollout.metadata.deletion_timestamp {
            let ago = self.ago(since.0);
            self.line(&format!("It was deleted {ago} ago, and the Deployment is being given back."));
        }
        if status.observed_generation != rollout.metadata.generation {
            self.line("The operator has not looked at the newest spec of the Rollout yet.");
        }
        let looked_at = status.workload.as_ref().and_then(|workload| workload.observed_generation);
        if looked_at.is_some() && self.look.generation.is_some() && looked_at != self.look.generation {
            self.line("The operator has not looked at the newest change of the Deployment yet.");
        }
        self.line("");
    }

    fn arms(&mut self, rollout: &Rollout, status: &RolloutStatus) {
        let held = match status.workload.as_ref().map(|workload| (workload.held_by, &workload.stable_replica_set)) {
            Some((_, None)) | None => ", not held yet",
            Some((Some(HeldBy::Paused), _)) => ", held by being paused all the time",
            Some((Some(HeldBy::Policy) | None, _)) => ", held by admission policies",
        };
        self.field("Deployment", &format!("{}{held}", rollout.spec.workload_ref.name));
        let arm = |arm: &ArmStatus| format!("{}   {} of {} pods ready", arm.revision, arm.ready, arm.replicas);
        if let Some(stable) = &status.stable {
            self.field("Stable", &arm(stable));
        }
        if let Some(flight) = &status.flight {
            let pods = status.canary.as_ref().filter(|canary| canary.revision == flight.revision);
            let pods = pods.map_or_else(|| format!("{}   no pods yet", flight.revision), arm);
            let ago = self.ago(flight.started_at.0);
            self.field("Canary", &format!("{pods}, on trial for {ago}, attempt {}", status.attempt));
        }
        if let Some(latch) = &status.latch {
            let ago = self.ago(latch.at.0);
            let by = latch.by.as_ref().map_or_else(String::new, |by| format!(" by {}", plain(by)));
            let why = plain(&latch.message);
            let (revision, reason) = (&latch.revision, latch.reason);
            let attempt = match latch.attempt {
                0 => "before its trial".to_owned(),
                attempt => format!("attempt {attempt}"),
            };
            self.field("Given up", &format!("{revision}, {attempt}, {ago} ago{by}: {reason}: {why}"));
        }
        if let Some(weights) = &status.weights {
            let by = match weights.by.as_deref() {
                Some("Status") => ", as the routes' status says",
                Some("Pods") => ", by the ratio of pods",
                _ => "",
            };
            let accepted = Split { weight: weights.accepted, apart: weights.apart.clone() };
            let text = if weights.desired == weights.accepted {
                format!("canary {accepted}{by}")
            } else {
                format!("canary {accepted}{by}; {} is wanted", weights.desired)
            };
            let seen = weights.observed.as_deref().map_or_else(String::new, |seen| format!("; seen: {}", plain(seen)));
            self.field("Traffic", &format!("{text}{seen}"));
        }
        if let Some(past) = &status.past {
            let ago = self.ago(past.since.0);
            self.field("Before", &format!("{}, replaced {ago} ago, its pods are kept for a while", past.replica_set));
        }
    }

    fn steps(&mut self, rollout: &Rollout, status: &RolloutStatus) {
        let (steps, held) = match &status.flight {
            Some(flight) => (&flight.steps, status.step.as_ref()),
            None => (&rollout.spec.steps, None),
        };
        let promoting = status.flight.as_ref().is_some_and(|flight| flight.promotion.is_some());
        let given_up = status.latch.is_some();
        let current = held.map(|held| usize::try_from(held.index).unwrap_or(usize::MAX));
        let mut rows: Vec<Vec<Cell>> = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            let here = current == Some(index) && !promoting && !given_up;
            let observed = held.filter(|_| here).map(|held| held.observed_seconds);
            let approved = held.is_some_and(|held| here && held.approved);
            let state = match current {
                Some(current) if index < current || promoting => "passed".to_owned(),
                Some(current) if index == current && given_up => "given up here".to_owned(),
                Some(current) if index == current => {
                    let since = held.and_then(|held| held.started_at.as_ref());
                    since.map_or_else(|| "here".to_owned(), |since| format!("here for {}", self.ago(since.0)))
                }
                _ => String::new(),
            };
            let mark = if here { "> " } else { "  " };
            let tone = here.then_some(Tone::Strong);
            rows.push(vec![
                Cell::toned(format!("{mark}{}", step.name), tone),
                step.split().to_string().into(),
                wants(step, observed, approved).into(),
                state.into(),
            ]);
        }
        if let Some(promotion) = status.flight.as_ref().and_then(|flight| flight.promotion.as_ref()) {
            let state = match (promotion.home, promotion.moved) {
                (true, _) => "requests are back at the stable Service, which reaches the candidate",
                (false, true) if rollout.spec.routes().is_empty() => "the ReplicaSets change hands",
                (false, true) => "the stable Service moves to the candidate",
                (false, false) if promotion.trading => "stable's pods are traded for the candidate's",
                (false, false) => "the candidate gets ready to carry everything",
            };
            let ago = format!("here for {}", self.ago(promotion.since.0));
            let name = Cell::toned("> promotion", Some(Tone::Strong));
            rows.push(vec![name, "100 %".into(), state.into(), ago.into()]);
        }
        self.section(if status.flight.is_some() { "Steps" } else { "Steps of the next release" }, &rows);
        let power = status.conditions.iter().find(|condition| condition.type_ == UNDERPOWERED);
        let edited = has_edited_steps(rollout);
        if edited || power.is_some() {
            self.line("");
        }
        if edited {
            self.field("Edited", STEPS_EDITED);
        }
        if let Some(power) = power {
            self.field(UNDERPOWERED, &plain(&power.message));
        }
    }

    fn metrics(&mut self, status: &RolloutStatus) {
        if status.metrics.is_empty() {
            return;
        }
        let mut rows: Vec<Vec<Cell>> = vec![
            ["NAME", "VERDICT", "CANARY", "STABLE", "SAMPLES", "RANGE", "EVIDENCE", "WHY"].map(Cell::from).to_vec(),
        ];
        let or_none = |text: &Option<String>| Cell::from(text.as_deref().map_or_else(|| "-".to_owned(), plain));
        for metric in &status.metrics {
            let tone = match metric.verdict {
                _ if metric.dry_run => None,
                Verdict::Pass => Some(Tone::Good),
                Verdict::Fail => Some(Tone::Bad),
                Verdict::Unknown => Some(Tone::Busy),
                Verdict::Continue => None,
            };
            rows.push(vec![
                metric.name.as_str().into(),
                Cell::toned(format!("{:?}{}", metric.verdict, if metric.dry_run { " (dry run)" } else { "" }), tone),
                or_none(&metric.canary),
                or_none(&metric.stable),
                metric.samples.to_string().into(),
                or_none(&metric.range),
                or_none(&metric.evidence),
                plain(&metric.why).into(),
            ]);
        }
        self.section("Metrics", &rows);
    }

    fn waiting(&mut self, status: &RolloutStatus) {
        if status.waiting_for.is_empty() {
            return;
        }
        let rows: Vec<Vec<Cell>> = status
            .waiting_for
            .iter()
            .map(|waiting| {
                let tone = if waiting.reason.kind() == Sort::Block { Tone::Bad } else { Tone::Busy };
                let object = if waiting.object.is_empty() { "-" } else { &waiting.object };
                vec![
                    Cell::toned(waiting.reason.to_string(), Some(tone)),
                    plain(object).into(),
                    format!("for {}", self.ago(waiting.since.0)).into(),
                    plain(if waiting.message.is_empty() { waiting.reason.meaning() } else { &waiting.message }).into(),
                ]
            })
            .collect();
        self.section("Waits for", &rows);
    }

    fn decisions(&mut self, status: &RolloutStatus) {
        let hidden = status.decisions.len().saturating_sub(self.look.decisions);
        let rows: Vec<Vec<Cell>> = status
            .decisions
            .iter()
            .skip(hidden)
            .map(|decision| {
                let tone = match decision.reason.kind() {
                    Sort::Harm | Sort::Block => Some(Tone::Bad),
                    Sort::News | Sort::Wait => None,
                };
                let by = decision.by.as_ref().map_or_else(String::new, |by| format!(" (by {})", plain(by)));
                vec![
                    format!("{} ago", self.ago(decision.at.0)).into(),
                    Cell::toned(decision.reason.to_string(), tone),
                    format!("{}{by}", plain(&decision.message)).into(),
                ]
            })
            .collect();
        if !rows.is_empty() {
            self.section("Last decisions", &rows);
        }
    }

    fn rest(&mut self, status: &RolloutStatus) {
        let refused: Vec<_> =
            status.handled.iter().rev().take(1).filter(|handled| handled.outcome == ActionOutcome::Refused).collect();
        if refused.is_empty() && status.alerts.is_empty() {
            return;
        }
        self.line("");
        if let [refused] = refused.as_slice() {
            let why = plain(&refused.message);
            self.field("Refused", &format!("the last command: {why}"));
        }
        let pending = status.alerts.len();
        if pending > 0 {
            let mut told: Vec<String> = status
                .alerts
                .iter()
                .map(|alert| {
                    let why = alert.failure.as_deref().map_or_else(String::new, |why| format!(" ({})", plain(why)));
                    format!("{} to {}{why}", event_name(alert), plain(&alert.receiver))
                })
                .collect();
            told.sort();
            told.dedup();
            self.field("Alerts", &format!("{pending} not delivered yet: {}", told.join(", ")));
        }
    }

    fn next(&mut self, rollout: &Rollout) {
        let rows: Vec<Vec<Cell>> = commands(rollout)
            .into_iter()
            .map(|(verb, what)| vec![command(verb, &rollout.name_any(), self.look.flags).into(), what.into()])
            .collect();
        if !rows.is_empty() {
            self.section("Next", &rows);
        }
    }
}

fn event_name(alert: &crate::api::PendingAlert) -> String {
    format!("{:?}", alert.event)
}

/// The line with which a person gives a command.
pub fn command(verb: &str, name: &str, flags: &str) -> String {
    let (verb, rest) = verb.split_once(' ').map_or((verb, String::new()), |(verb, rest)| (verb, format!(" {rest}")));
    format!("kubectl bellwether {verb} {name}{rest}{flags}")
}

/// What a step waits for before it is left.
fn wants(step: &Step, observed_seconds: Option<u64>, approved: bool) -> String {
    let mut wants = Vec::new();
    match (step.observe, observed_seconds) {
        (Some(wanted), Some(seconds)) => {
            // What was watched beyond the need says nothing more.
            let full = Duration::seconds(seconds).min(wanted);
            wants.push(format!("observe {full} of {wanted}"));
        }
        (Some(wanted), None) => wants.push(format!("observe {wanted}")),
        (None, _) => {}
    }
    if step.approval.is_some() {
        wants.push(if approved { "approved".to_owned() } else { "approval".to_owned() });
    }
    let mut text = wants.join(", then ");
    if let Some(replicas) = step.replicas {
        let _ = write!(text, ", at least {replicas} {}", if replicas == 1 { "pod" } else { "pods" });
    }
    text
}

/// What can be done in this state, the likeliest first.
pub fn commands(rollout: &Rollout) -> Vec<(&'static str, &'static str)> {
    const PROMOTE: (&str, &str) = ("promote", "leave this step now");
    const FULL: (&str, &str) = ("promote --full", "leave all steps");
    const INSTEAD: (&str, &str) =
        ("promote --full", "let the canary take over, for stable cannot take its requests back");
    const ABORT: (&str, &str) = ("abort", "take the canary out, stable goes on serving");
    const PAUSE: (&str, &str) = ("pause", "stay at this weight");
    const WATCH: (&str, &str) = ("watch", "see it change");
    const EJECT: (&str, &str) = ("eject", "give the Deployment back");
    let deleted = rollout.metadata.deletion_timestamp.is_some();
    let is_short = |status: &RolloutStatus| status.waiting_for.iter().any(|it| it.reason == Reason::StableShrunk);
    if deleted && rollout.status.as_ref().is_some_and(is_short) {
        return vec![INSTEAD, WATCH];
    }
    let Some(status) = rollout.status.as_ref().filter(|_| !deleted) else { return vec![WATCH] };
    let Some(flight) = &status.flight else {
        return match status.phase {
            Phase::Aborted => vec![("retry", "try this revision again, from the first step"), EJECT],
            Phase::Stable if !status.former.is_empty() => {
                vec![("undo", "put the former revision back; where a tool brings back what Git has, revert there")]
            }
            Phase::Stable => Vec::new(),
            Phase::Blocked | Phase::Invalid => vec![EJECT],
            _ => vec![WATCH],
        };
    };
    if is_short(status) {
        return if status.phase == Phase::Waiting { vec![INSTEAD, ABORT, WATCH] } else { vec![INSTEAD, WATCH] };
    }
    if status.latch.is_some() || flight.promotion.as_ref().is_some_and(|promotion| promotion.home) {
        return vec![WATCH];
    }
    if flight.promotion.is_some() {
        return vec![ABORT, WATCH];
    }
    if flight.paused || status.is_stuck() {
        let what = if status.is_stuck() { "give its pods the deadline once more" } else { "go on from this step" };
        return vec![("resume", what), PROMOTE, ABORT];
    }
    let mut all = match status.phase {
        Phase::AwaitingApproval => vec![("promote", "approve this step"), FULL, ABORT],
        Phase::Blocked => vec![ABORT, PROMOTE],
        _ => vec![PROMOTE, FULL, PAUSE, ABORT],
    };
    if has_edited_steps(rollout) {
        all.push(("adopt-steps", "go on with the spec's steps of now"));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{
        super::fake::{aborted, ago, at_rest, in_flight, now, with},
        *,
    };
    use serde_json::{Value, json};

    fn shown(rollout: Value, generation: i64) -> String {
        let rollout: Rollout = serde_json::from_value(rollout).unwrap();
        let look =
            Look { now: now(), paint: Paint::Plain, flags: " -n shop", decisions: 5, generation: Some(generation) };
        page(&rollout, &look)
    }

    fn check(rollout: Value, generation: i64, expected: &str) {
        let page = shown(rollout, generation);
        assert_eq!(page, expected, "\n{page}");
    }

    #[test]
    fn a_release_under_way_is_explained() {
        check(
            in_flight(),
            9,
            "\
Rollout shop/checkout: Progressing
step more at 20 %: watched for 63s of 5m

Deployment  checkout, held by admission policies
Stable      6c9f7d5b44   5 of 5 pods ready
Canary      tkz4bnq2xw   1 of 1 pods ready, on trial for 12m, attempt 1
Traffic     canary 20 %, as the routes' status says

Steps
    warm   0 %    observe 30s, at least 1 pod   passed
  > more   20 %   observe 1m3s of 5m            here for 2m10s
    half   50 %   observe 5m, then approval

Metrics
  NAME      VERDICT    CANARY   STABLE   SAMPLES   RANGE           EVIDENCE   WHY
  errors    Continue   0.41 %   0.39 %   12034     0.63x to 1.6x   1 in 1.3   nothing is proven yet
  latency   Unknown    -        -        0         -               -          no series with these labels

Waits for
  Observing   -   for 63s   step more at 20 %: watched for 63s of 5m

Last decisions
  12m ago     FlightStarted   a new revision goes on trial against checkout-6c9f7d5b44
  2m10s ago   StepEntered     step more at 20 %

Alerts      1 not delivered yet: Aborted to on-call

Next
  kubectl bellwether promote checkout -n shop          leave this step now
  kubectl bellwether promote checkout --full -n shop   leave all steps
  kubectl bellwether pause checkout -n shop            stay at this weight
  kubectl bellwether abort checkout -n shop            take the canary out, stable goes on serving
",
        );
    }

    #[test]
    fn a_release_whose_trial_never_began_says_so() {
        let rollout = with(aborted(), &json!({"status": {"latch": {"attempt": 0}}}));
        let page = shown(rollout, 9);
        assert!(page.contains("Given up    tkz4bnq2xw, before its trial, 5m ago"), "{page}");
    }

    #[test]
    fn a_release_that_was_given_up_says_why_and_what_can_be_done() {
        let rollout = with(aborted(), &json!({"status": {"decisions": null, "latch": {"by": "jane (unverified)"}}}));
        check(
            rollout,
            9,
            "\
Rollout shop/checkout: Aborted
AnalysisFailed: errors: 4.1 % against 0.4 %; stable serves, and the Deployment is held until its template changes or somebody says Retry

Deployment  checkout, held by admission policies
Stable      6c9f7d5b44   5 of 5 pods ready
Given up    tkz4bnq2xw, attempt 1, 5m ago by jane (unverified): AnalysisFailed: errors: 4.1 % against 0.4 %

Steps of the next release
    warm   0 %    observe 30s, at least 1 pod
    more   20 %   observe 5m
    half   50 %   observe 5m, then approval

Next
  kubectl bellwether retry checkout -n shop   try this revision again, from the first step
  kubectl bellwether eject checkout -n shop   give the Deployment back
",
        );
    }

    #[test]
    fn what_the_operator_has_not_seen_yet_is_said() {
        check(
            with(
                at_rest(),
                &json!({"metadata": {"generation": 4}, "spec": {"steps": [{"name": "one", "weight": 5, "observe": "1m"}]}}),
            ),
            8,
            "\
Rollout shop/checkout: Stable
one revision serves and none is on trial
The operator has not looked at the newest spec of the Rollout yet.
The operator has not looked at the newest change of the Deployment yet.

Deployment  checkout, held by admission policies
Stable      6c9f7d5b44   5 of 5 pods ready

Steps of the next release
    one   5 %   observe 1m
",
        );
    }

    #[test]
    fn a_rollout_nobody_looked_at_is_shown_as_such() {
        check(
            with(at_rest(), &json!({"status": null})),
            7,
            "\
Rollout shop/checkout: not looked at yet
The operator has written no status; is it running?

Next
  kubectl bellwether watch checkout -n shop   see it change
",
        );
    }

    #[test]
    fn a_promotion_is_the_last_line_of_the_steps() {
        let promotion = json!({"since": ago(20), "from": "checkout-6c9f7d5b44", "moved": true});
        let rollout = with(in_flight(), &json!({"status": {"phase": "Promoting", "flight": {"promotion": promotion}}}));
        let rollout: Rollout = serde_json::from_value(rollout).unwrap();
        let look = Look { now: now(), paint: Paint::Plain, flags: "", decisions: 0, generation: None };
        let page = page(&rollout, &look);
        let steps: Vec<_> = page.lines().skip_while(|line| *line != "Steps").skip(1).take(4).collect();
        assert_eq!(
            steps,
            [
                "    warm        0 %     observe 30s, at least 1 pod                 passed",
                "    more        20 %    observe 5m                                  passed",
                "    half        50 %    observe 5m, then approval                   passed",
                "  > promotion   100 %   the stable Service moves to the candidate   here for 20s",
            ],
            "{page}"
        );
    }

    #[test]
    fn steps_that_were_edited_meanwhile_are_said_to_be_so() {
        let steps = json!([{"name": "more", "weight": 30, "observe": "5m"}]);
        let edited = |status: Value| {
            let rollout = with(in_flight(), &json!({"spec": {"steps": steps}, "status": status}));
            let rollout: Rollout = serde_json::from_value(rollout).unwrap();
            let look = Look { now: now(), paint: Paint::Plain, flags: "", decisions: 0, generation: None };
            page(&rollout, &look)
        };
        let text = edited(json!({}));
        assert!(text.contains(&format!("\nEdited      {STEPS_EDITED}\n")), "{text}");
        assert!(text.contains("kubectl bellwether adopt-steps checkout "), "{text}");
        let taking_over = edited(json!({"flight": {"promotion": {"since": ago(1), "from": "x"}}}));
        assert!(!taking_over.contains(STEPS_EDITED), "nothing can be adopted any more: {taking_over}");
    }

    #[test]
    fn every_phase_has_its_commands() {
        let verbs = |rollout: Value| {
            let rollout: Rollout = serde_json::from_value(rollout).unwrap();
            commands(&rollout).into_iter().map(|(verb, _)| verb).collect::<Vec<_>>()
        };
        let flying = |status: Value| verbs(with(in_flight(), &json!({"status": status})));
        assert_eq!(flying(json!({"phase": "AwaitingApproval"})), ["promote", "promote --full", "abort"]);
        assert_eq!(flying(json!({"phase": "Paused", "flight": {"paused": true}})), ["resume", "promote", "abort"]);
        assert_eq!(flying(json!({"phase": "Blocked"})), ["abort", "promote"]);
        let promotion = json!({"since": ago(1), "from": "x"});
        assert_eq!(flying(json!({"phase": "Promoting", "flight": {"promotion": promotion}})), ["abort", "watch"]);
        let shrunk =
            json!([{"reason": "StableShrunk", "object": "ReplicaSet/x", "since": ago(1), "message": "too few"}]);
        let held = json!({"phase": "Waiting", "waitingFor": shrunk});
        assert_eq!(flying(held), ["promote --full", "abort", "watch"]);
        assert_eq!(flying(json!({"phase": "Aborting", "waitingFor": shrunk})), ["promote --full", "watch"]);
        assert_eq!(verbs(at_rest()), [""; 0]);
        assert_eq!(verbs(with(at_rest(), &json!({"metadata": {"deletionTimestamp": ago(1)}}))), ["watch"]);
    }

    #[test]
    fn what_is_in_the_way_and_what_comes_too_late_is_read_off_the_page() {
        let steps = json!([
            {"name": "shadow", "weight": 0, "mirror": {"percent": 10}, "observe": "10m"},
            {"name": "testers", "weight": 0, "match": [{"headers": [{"name": "x-test", "value": "yes"}]}], "approval": "Required"},
            {"name": "more", "weight": 20, "observe": "5m"}]);
        let power = "errors: with 0.2 requests a second a tenfold error rate takes about 3h to be proven";
        let condition = json!({"type": "Underpowered", "status": "True", "reason": "TooLittleTraffic", "message": power,
            "lastTransitionTime": ago(300)});
        let waiting = json!([{"reason": "RouteUnsteerable", "object": "HTTPRoute/checkout", "since": ago(40),
            "message": "HTTPRoute checkout has no rule that names both Services"}]);
        let alert = json!({"id": "a", "receiver": "on-call", "event": "Blocked", "at": ago(39), "body": "{}",
            "failure": "the receiver answered 404"});
        let status = json!({"phase": "Blocked", "message": waiting[0]["message"], "waitingFor": waiting,
            "metrics": [{"name": "cost", "verdict": "Fail", "dryRun": true, "samples": 9, "why": "above 2"}],
            "decisions": null, "conditions": [condition], "alerts": [alert], "weights": {"desired": 0, "accepted": 0, "apart": {"mirror": {"percent": 10}}},
            "step": {"index": 0, "name": "shadow"}, "flight": {"steps": steps}});
        check(
            with(in_flight(), &json!({"spec": {"steps": steps}, "status": status})),
            9,
            "\
Rollout shop/checkout: Blocked
HTTPRoute checkout has no rule that names both Services

Deployment  checkout, held by admission policies
Stable      6c9f7d5b44   5 of 5 pods ready
Canary      tkz4bnq2xw   1 of 1 pods ready, on trial for 12m, attempt 1
Traffic     canary 0 % and 10 % mirrored, as the routes' status says

Steps
  > shadow    0 % and 10 % mirrored   observe 1m3s of 10m   here for 2m10s
    testers   0 % and what matches    approval
    more      20 %                    observe 5m

Underpowered errors: with 0.2 requests a second a tenfold error rate takes about 3h to be proven

Metrics
  NAME   VERDICT          CANARY   STABLE   SAMPLES   RANGE   EVIDENCE   WHY
  cost   Fail (dry run)   -        -        9         -       -          above 2

Waits for
  RouteUnsteerable   HTTPRoute/checkout   for 40s   HTTPRoute checkout has no rule that names both Services

Alerts      1 not delivered yet: Blocked to on-call (the receiver answered 404)

Next
  kubectl bellwether abort checkout -n shop     take the canary out, stable goes on serving
  kubectl bellwether promote checkout -n shop   leave this step now
",
        );
    }

    #[test]
    fn a_message_cannot_write_to_the_terminal() {
        let rollout = with(
            in_flight(),
            &json!({"status": {"message": "\u{1b}[2Jboo", "metrics": [
            {"name": "errors", "verdict": "Fail", "why": "x\u{1b}]0;title\u{7}"}]}}),
        );
        let rollout: Rollout = serde_json::from_value(rollout).unwrap();
        let look = Look { now: now(), paint: Paint::Plain, flags: "", decisions: 5, generation: None };
        assert!(!page(&rollout, &look).contains('\u{1b}'));
    }
}
