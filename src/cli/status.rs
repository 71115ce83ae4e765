//! `status` and `watch`: the page that explains a Rollout, once, at its end, or all the time.
use super::{
    Exit, Format, Session,
    page::{Look, page, summary},
    render::{Screen, Size, Surface, reference},
    wait::{self, Goal, Seen},
};
use crate::{api::Rollout, duration::Duration};
use jiff::Timestamp;
use kube::ResourceExt;
use std::io;

/// So many decisions are shown before `-o wide` is asked for all.
const DECISIONS: usize = 5;

/// Explains a Rollout.
pub async fn status(session: &mut Session<'_>, name: &str) -> anyhow::Result<Exit> {
    let object = session.object(name).await?;
    if let Some(format) = session.objects() {
        session.screen.object(&super::shown(&object, "Rollout")?, format)?;
        return Ok(Exit::Done);
    }
    let rollout = session.understand(&object)?;
    let generation = wait::generation(session, &rollout.spec.workload_ref.name).await;
    let text = page(&rollout, &look(session, generation));
    session.screen.print(&text)?;
    Ok(Exit::Done)
}

/// Waits until the release is decided, and explains the Rollout then. What changes meanwhile is told on standard error.
pub async fn wait(session: &mut Session<'_>, name: &str, timeout: Duration, goal: Goal) -> anyhow::Result<Exit> {
    let rollout = session.rollout(name).await?;
    let mut last = None;
    let mut show = |screen: &mut Screen<'_>, seen: &Seen, _: Timestamp| {
        let key = landmark(&seen.rollout);
        if last.as_ref() != Some(&key) {
            screen.say(&format!("{name}: {}", summary(&seen.rollout)))?;
            last = Some(key);
        }
        Ok(())
    };
    let ending = wait::follow(session, rollout, goal, Some(timeout), &mut show).await?;
    if let Some(format) = session.objects() {
        session.screen.object(&super::shown(&ending.seen.object, "Rollout")?, format)?;
    } else {
        let text = page(&ending.seen.rollout, &look(session, ending.seen.generation()));
        session.screen.print(&text)?;
    }
    session.screen.say(&format!("{name}: {}", ending.words))?;
    Ok(ending.exit)
}

/// What is worth a line in a log: not every second that was watched.
fn landmark(rollout: &Rollout) -> impl PartialEq + use<> {
    let status = rollout.status.clone().unwrap_or_default();
    (
        status.phase,
        status.step.map(|step| step.name),
        status.weights.map(|weights| weights.accepted),
        status.waiting_for.first().map(|waiting| (waiting.reason, waiting.object.clone())),
    )
}

/// Shows a Rollout all the time.
pub async fn watch(session: &mut Session<'_>, name: &str, goal: Goal) -> anyhow::Result<Exit> {
    let rollout = session.rollout(name).await?;
    let (objects, flags, paint) = (session.objects(), session.flags.clone(), session.screen.paint);
    let live = session.screen.surface == Surface::Terminal && objects.is_none();
    if live {
        session.screen.clear()?;
    }
    let decisions = decisions(session);
    let mut last = String::new();
    let mut show = |screen: &mut Screen<'_>, seen: &Seen, now: Timestamp| {
        if live {
            let generation = seen.generation();
            let page = page(&seen.rollout, &Look { now, paint, flags: &flags, decisions, generation });
            return screen.redraw(&page, Size::of_terminal());
        }
        let text = match objects {
            Some(Format::Json) => super::shown(&seen.object, "Rollout").map(|value| value.to_string())?,
            Some(Format::Yaml) => {
                let yaml = serde_saphyr::to_string(&super::shown(&seen.object, "Rollout")?);
                format!("---\n{}", yaml.map_err(io::Error::other)?)
            }
            Some(Format::Name) => reference(&super::shown(&seen.object, "Rollout")?),
            Some(Format::Wide) | None => summary(&seen.rollout),
        };
        if text == last {
            return Ok(());
        }
        match objects {
            Some(_) => screen.print(&text)?,
            None => screen.print(&format!("{now:.0}   {}   {text}", seen.rollout.name_any()))?,
        }
        last = text;
        Ok(())
    };
    let ending = wait::follow(session, rollout, goal, None, &mut show).await?;
    session.screen.say(&format!("{name}: {}", ending.words))?;
    Ok(ending.exit)
}

fn look<'a>(session: &'a Session<'_>, generation: Option<i64>) -> Look<'a> {
    Look {
        now: (session.clock)(),
        paint: session.screen.paint,
        flags: &session.flags,
        decisions: decisions(session),
        generation,
    }
}

fn decisions(session: &Session<'_>) -> usize {
    if session.output == Some(Format::Wide) { usize::MAX } else { DECISIONS }
}
