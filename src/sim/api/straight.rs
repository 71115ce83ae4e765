//! The wire without HTTP: the same requests, faults and answers, with objects as they are stored.
use super::{Call, Fate, Method, Options, PatchType, Status, Wire, wire::wait};
use crate::cluster::{Ask, Care, Listed, Straight};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use kube::{
    Error,
    api::{ApiResource, ListParams},
};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// What takes no longer than this takes no time.
const AT_ONCE: Duration = Duration::from_millis(1);

fn refused(status: &Status) -> Error {
    serde_json::from_value(status.to_value()).map_or_else(Error::SerdeError, |status| Error::Api(Box::new(status)))
}

fn broken() -> Error {
    Error::Service("the connection broke".into())
}

fn call_of(kind: &ApiResource, namespace: &str, name: &str, ask: Ask) -> Call {
    let name = Some(name).filter(|name| !name.is_empty());
    let mut options = Options { manager: Some("bellwether".to_owned()), ..Options::default() };
    let (method, part, body) = match ask {
        Ask::Get => (Method::Get, "", Value::Null),
        Ask::Create(object, care) => {
            options.dry_run = care == Care::Dry;
            (Method::Create, "", object)
        }
        Ask::Replace(object, _) => (Method::Update, "", object),
        Ask::ReplaceStatus(object) => (Method::Update, "status", object),
        Ask::Merge(change) => (Method::Patch(PatchType::Merge), "", change),
        Ask::MergeStatus(change) => (Method::Patch(PatchType::Merge), "status", change),
        Ask::Delete(params) => {
            options.propagation = params.propagation_policy.map(|policy| format!("{policy:?}"));
            let conditions = params.preconditions.unwrap_or_default();
            (options.uid, options.at_version) = (conditions.uid, conditions.resource_version);
            (Method::Delete, "", Value::Null)
        }
    };
    let call = Call::new(method, &kind.api_version, &kind.plural, Some(namespace), name);
    Call { options, ..call.of(part).with_body(body) }
}

/// How long the way takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As long as over HTTP: the world goes on between two requests of one look.
    Same,
    /// What takes no longer than a moment takes no time.
    Hasty,
}

/// A wire without HTTP.
pub struct Bare {
    wire: Wire,
    pace: Pace,
}

impl Bare {
    /// This wire without HTTP.
    pub fn new(wire: Wire, pace: Pace) -> Self {
        Self { wire, pace }
    }

    fn at_this_pace(&self, delay: Duration) -> Duration {
        if self.pace == Pace::Same || delay > AT_ONCE { delay } else { Duration::ZERO }
    }

    async fn go<T: Send + 'static>(
        &self,
        mut call: Call,
        answer: fn(&Wire, &Call) -> Result<T, Status>,
    ) -> Result<T, Error> {
        let hooks = self.wire.hooks();
        hooks.bend(&mut call);
        let (delay, lost) = match hooks.before(&call) {
            Fate::Pass { delay } => (self.at_this_pace(delay), false),
            Fate::Lose { delay } => (self.at_this_pace(delay), true),
            Fate::Fail { delay, status } => {
                wait(self.at_this_pace(delay)).await;
                return Err(refused(&status));
            }
            Fate::Break { delay } => {
                wait(delay).await;
                return Err(broken());
            }
            Fate::Hang => std::future::pending().await,
        };
        let answer = if call.method.writes() && !delay.is_zero() {
            // What was sent arrives, whatever becomes of the sender.
            let (wire, sent) = (self.wire.clone(), call.clone());
            let arrives = tokio::spawn(async move {
                wait(delay).await;
                answer(&wire, &sent)
            });
            arrives.await.map_err(|_| broken())?
        } else {
            wait(delay).await;
            answer(&self.wire, &call)
        };
        if self.pace == Pace::Same {
            let answered = answer.as_ref().map(|_| Bytes::new()).map_err(Clone::clone);
            wait(hooks.after(&call, &answered)).await;
        }
        if lost {
            return Err(broken());
        }
        answer.map_err(|status| refused(&status))
    }
}

impl Straight for Bare {
    fn ask<'a>(
        &'a self,
        kind: &'a ApiResource,
        namespace: &'a str,
        name: &'a str,
        ask: Ask,
    ) -> BoxFuture<'a, Result<Arc<Value>, Error>> {
        if kind.kind == "Event" {
            // Nobody in a story reads them.
            return futures::future::ready(Ok(Arc::default())).boxed();
        }
        let call = call_of(kind, namespace, name, ask);
        self.go(call, |wire, call| wire.server().answer(wire.user(), call, wire.version_for(call))).boxed()
    }

    fn list<'a>(
        &'a self,
        kind: &'a ApiResource,
        namespace: &'a str,
        params: &'a ListParams,
    ) -> BoxFuture<'a, Result<Listed, Error>> {
        let mut call = Call::new(Method::List, &kind.api_version, &kind.plural, Some(namespace), None);
        (call.options.labels, call.options.fields) = (params.label_selector.clone(), params.field_selector.clone());
        self.go(call, |wire, call| {
            let version = wire.version_for(call);
            let shown = version.unwrap_or_else(|| wire.server().version());
            Ok((wire.server().select(wire.user(), call, version)?, shown.to_string()))
        })
        .boxed()
    }
}
