//! A command is obeyed once, and one that is about something else is refused.
use super::{Checks, Commit, OPERATOR, Read, Value};
use crate::sim::stage::NAME;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What became of each command, by its uid.
#[derive(Clone, Default)]
pub(super) struct Answers {
    /// What people asked for.
    asked: BTreeMap<String, Arc<Value>>,
    /// What was decided of it.
    given: BTreeMap<String, String>,
    /// What stands in the Rollout's status of it now.
    listed: BTreeSet<String>,
}

/// The lines of a decision log that say that a command was obeyed or refused. That one cannot be carried out after all, for
/// what it needs was deleted, is said once more.
fn notes(status: &Value) -> Vec<&Value> {
    let about_commands = |it: &&Value| ["ActionAccepted", "ActionRefused"].contains(&it.text("/reason"));
    let after_all = |it: &&Value| it.text("/message").contains("cannot be carried out");
    status.list("/decisions").iter().filter(about_commands).filter(|it| !after_all(it)).collect()
}

impl Checks {
    /// A status was written: each command that is new in it was not answered before, and fits what it expected.
    pub(super) fn answered(&mut self, commit: &Commit, at: u64) {
        let Some(after) = commit.after.clone().filter(|_| commit.user == OPERATOR && commit.name == NAME) else {
            return;
        };
        let before = commit.before.clone().unwrap_or_default();
        let (old, status) = (&before["status"], &after["status"]);
        let mut fresh = 0;
        let mut listed = BTreeSet::new();
        for handled in status.list("/handled") {
            let (uid, outcome) = (handled.text("/uid").to_owned(), handled.text("/outcome").to_owned());
            listed.insert(uid.clone());
            if self.answers.listed.contains(&uid) {
                if self.answers.given.get(&uid) != Some(&outcome) {
                    self.wrong("S10 a command is obeyed once", at, format!("{uid} is {outcome} now"));
                }
                continue;
            }
            fresh += 1;
            if self.answers.given.insert(uid.clone(), outcome.clone()).is_some() {
                self.wrong("S10 a command is obeyed once", at, format!("{uid} was decided on again: {handled}"));
            }
            let on_trial = match old.text("/flight/revision") {
                "" => old.text("/latch/revision"),
                revision => revision,
            };
            let Some(asked) = self.answers.asked.get(&uid) else { continue };
            let expected = asked.text("/spec/expect/revision");
            if outcome == "Accepted" && !expected.is_empty() && expected != on_trial {
                let what = format!("{} for {expected}, and on trial is {on_trial:?}", asked.text("/spec/action"));
                self.wrong("S10 a command for another revision is refused", at, what);
            }
        }
        self.answers.listed = listed;
        let mut noted = notes(status);
        for known in notes(old) {
            if let Some(place) = noted.iter().position(|note| *note == known) {
                noted.remove(place);
            }
        }
        if noted.len() > fresh {
            let what = format!("{} commands obeyed or refused, {fresh} of them new", noted.len());
            self.wrong("S10 a command is obeyed once", at, what);
        }
    }

    /// A command was given, or its answer written, which is what was decided and stays so.
    pub(super) fn replied(&mut self, commit: &Commit, at: u64) {
        let Some(action) = &commit.after else { return };
        let uid = action.uid().to_owned();
        if commit.before.is_none() {
            self.answers.asked.insert(uid, action.clone());
            return;
        }
        let said = action.text("/status/outcome");
        let decided = self.answers.given.get(&uid).map_or("", String::as_str);
        if commit.user == OPERATOR && action.text("/spec/rollout") == NAME && said != decided {
            let what = format!("{} is told {said}, and was {decided}", action.name());
            self.wrong("S10 a command is obeyed once", at, what);
        }
    }

    /// A backup was put back: what was decided since then was not.
    pub(super) fn answers_put_back(&mut self, status: &Value) {
        let handled = status.list("/handled").iter();
        let given: BTreeMap<_, _> =
            handled.map(|it| (it.text("/uid").to_owned(), it.text("/outcome").to_owned())).collect();
        self.answers.listed = given.keys().cloned().collect();
        self.answers.given = given;
    }
}
