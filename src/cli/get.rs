//! `get`: one line for each Rollout.
use super::{
    Exit, Format, Session,
    errors::{self, Failure, Request},
    page::{has_edited_steps, tone_of},
    render::{Cell, cut, plain, span, table},
};
use crate::{api::Rollout, plan::STEPS_EDITED};
use kube::{
    Api, ResourceExt,
    api::{DynamicObject, ListParams},
};
use serde_json::json;

/// So long may a message be before `-o wide` is asked for it.
const MESSAGE: usize = 80;

/// Where Rollouts are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In the session's namespace.
    Namespace,
    /// In all namespaces.
    Cluster,
}

/// Which Rollouts are listed.
#[derive(Clone, Debug)]
pub enum Which {
    /// Those of these names in the session's namespace.
    Named(Vec<String>),
    /// All of them, or all with these labels.
    All(Scope, Option<String>),
}

/// Prints Rollouts. Of those that are named all are printed that are there; one that is not is what the command ends with.
pub async fn get(session: &mut Session<'_>, which: &Which) -> anyhow::Result<Exit> {
    let (objects, missing) = match which {
        Which::Named(names) => named(session, names).await,
        Which::All(scope, selector) => (list(session, *scope, selector.as_deref()).await?, None),
    };
    let shown = print(session, which, &objects);
    missing.map_or(shown, |failure| Err(failure.into()))
}

async fn named(session: &Session<'_>, names: &[String]) -> (Vec<DynamicObject>, Option<Failure>) {
    let (mut objects, mut missing) = (Vec::new(), None);
    for name in names {
        match session.object(name).await {
            Ok(object) => objects.push(object),
            Err(failure) => missing = missing.or(Some(failure)),
        }
    }
    (objects, missing)
}

fn print(session: &mut Session<'_>, which: &Which, objects: &[DynamicObject]) -> anyhow::Result<Exit> {
    let one = matches!(which, Which::Named(names) if names.len() == 1);
    if matches!(which, Which::Named(_)) && objects.is_empty() {
        return Ok(Exit::Done);
    }
    if let Some(format) = session.objects() {
        let items = objects.iter().map(|object| super::shown(object, "Rollout")).collect::<Result<Vec<_>, _>>()?;
        let documents = match format {
            _ if one => items,
            Format::Name => items,
            _ => vec![json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items})],
        };
        for document in &documents {
            session.screen.object(document, format)?;
        }
        return Ok(Exit::Done);
    }
    let scope = match which {
        Which::Named(_) => Scope::Namespace,
        Which::All(scope, selector) => {
            if objects.is_empty() {
                let with = selector.as_ref().map_or_else(String::new, |selector| format!(" with labels {selector}"));
                let place = match scope {
                    Scope::Cluster => "in any namespace".to_owned(),
                    Scope::Namespace => format!("in namespace {}", session.namespace),
                };
                session.screen.say(&format!("There are no Rollouts{with} {place}."))?;
                return Ok(Exit::Done);
            }
            *scope
        }
    };
    let mut rows = vec![head(scope, session.output)];
    rows.extend(objects.iter().map(|object| row(object, scope, session)));
    let text = table(&rows, "", session.screen.paint);
    session.screen.print(&text)?;
    let understood = objects.iter().filter_map(|object| super::understood(object).ok());
    for rollout in understood.filter(has_edited_steps) {
        session.screen.say(&format!("{}: {STEPS_EDITED}", errors::full_name(&rollout)))?;
    }
    Ok(Exit::Done)
}

async fn list(session: &Session<'_>, scope: Scope, selector: Option<&str>) -> Result<Vec<DynamicObject>, Failure> {
    let resource = super::rollouts();
    let (api, namespace) = match scope {
        Scope::Cluster => (Api::<DynamicObject>::all_with(session.client.clone(), &resource), ""),
        Scope::Namespace => (session.rollouts(), session.namespace.as_str()),
    };
    let what = Request { verb: "list", resource: "rollouts", name: "", namespace };
    let wanted = ListParams { label_selector: selector.map(str::to_owned), ..ListParams::default() };
    let objects = errors::ask(what, api.list(&wanted)).await?.items;
    if objects.is_empty()
        && scope == Scope::Namespace
        && let Some(failure) = errors::missing_namespace(&session.client, namespace).await
    {
        return Err(failure);
    }
    Ok(objects)
}

fn head(scope: Scope, output: Option<Format>) -> Vec<Cell> {
    let mut head: Vec<&str> = if scope == Scope::Cluster { vec!["NAMESPACE"] } else { Vec::new() };
    head.extend(["NAME", "PHASE", "STEP", "WEIGHT", "STABLE", "CANARY"]);
    if output == Some(Format::Wide) {
        head.extend(["DEPLOYMENT", "STABLE-PODS", "CANARY-PODS", "ATTEMPT", "WAITS-FOR"]);
    }
    head.extend(["AGE", "MESSAGE"]);
    head.into_iter().map(Cell::from).collect()
}

fn row(object: &DynamicObject, scope: Scope, session: &Session<'_>) -> Vec<Cell> {
    let none = || Cell::from("-");
    let some = |text: Option<String>| text.map_or_else(none, Cell::from);
    let wide = session.output == Some(Format::Wide);
    let mut row: Vec<Cell> = Vec::new();
    if scope == Scope::Cluster {
        row.push(object.namespace().unwrap_or_default().into());
    }
    row.push(object.name_any().into());
    let age = object.creation_timestamp().map(|since| span(since.0, (session.clock)()));
    let rollout: Rollout = match super::understood(object) {
        Ok(rollout) => rollout,
        // One that this version cannot read is listed all the same.
        Err(error) => {
            row.push(object.data["status"]["phase"].as_str().map_or_else(none, Cell::from));
            row.extend(std::iter::repeat_with(none).take(if wide { 9 } else { 4 }));
            row.extend([some(age), cut(&plain(&error.words), MESSAGE).into()]);
            return row;
        }
    };
    let status = rollout.status.clone().unwrap_or_default();
    let deleted = rollout.metadata.deletion_timestamp.is_some();
    let phase = match (&rollout.status, deleted) {
        (_, true) => "Deleting".into(),
        (Some(status), false) => Cell::toned(format!("{:?}", status.phase), tone_of(status.phase)),
        (None, false) => none(),
    };
    row.extend([
        phase,
        some(status.step.map(|step| step.name)),
        some(status.weights.map(|weights| weights.accepted.percent().to_string())),
        some(status.stable.as_ref().map(|stable| stable.revision.clone())),
        some(status.canary.as_ref().map(|canary| canary.revision.clone())),
    ]);
    let message = plain(&status.message);
    if wide {
        let pods = |arm: crate::api::ArmStatus| format!("{}/{}", arm.ready, arm.replicas);
        row.extend([
            rollout.spec.workload_ref.name.as_str().into(),
            some(status.stable.map(pods)),
            some(status.canary.map(pods)),
            status.attempt.to_string().into(),
            some(status.waiting_for.first().map(|waiting| waiting.reason.to_string())),
        ]);
    }
    row.extend([some(age), if wide { message.into() } else { cut(&message, MESSAGE).into() }]);
    row
}

#[cfg(test)]
mod tests {
    use super::{
        super::fake::{Fake, ROLLOUTS, aborted, at_rest, in_flight, session, text, with},
        *,
    };
    use serde_json::Value;

    fn shop() -> Vec<Value> {
        vec![
            with(at_rest(), &json!({"metadata": {"name": "cart"}})),
            in_flight(),
            with(aborted(), &json!({"metadata": {"name": "search"}})),
            with(at_rest(), &json!({"metadata": {"name": "unread"}, "spec": {"steps": "none"}})),
        ]
    }

    fn list_of(items: &[Value]) -> Value {
        json!({"kind": "RolloutList", "apiVersion": "bellwether.dev/v1alpha1", "metadata": {}, "items": items})
    }

    fn here() -> Which {
        Which::All(Scope::Namespace, None)
    }

    fn named(names: &[&str]) -> Which {
        Which::Named(names.iter().copied().map(str::to_owned).collect())
    }

    async fn printed(cluster: Fake, which: Which, output: Option<Format>) -> (String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        get(&mut session(&cluster, &mut out, &mut err, output), &which).await.unwrap();
        cluster.done();
        (text(&out).to_owned(), text(&err).to_owned())
    }

    #[tokio::test]
    async fn the_table_has_a_line_for_each_even_if_it_cannot_be_understood() {
        let cluster = Fake::default().on("GET", ROLLOUTS, list_of(&shop()));
        let (out, _) = printed(cluster, here(), None).await;
        assert_eq!(
            out,
            "\
NAME       PHASE         STEP   WEIGHT   STABLE       CANARY       AGE   MESSAGE
cart       Stable        -      -        6c9f7d5b44   -            3d    one revision serves and none is on trial
checkout   Progressing   more   20       6c9f7d5b44   tkz4bnq2xw   3d    step more at 20 %: watched for 63s of 5m
search     Aborted       -      -        6c9f7d5b44   tkz4bnq2xw   3d    AnalysisFailed: errors: 4.1 % against 0.4 %; stable serves, and the Deploymen...
unread     Stable        -      -        -            -            3d    Rollout unread cannot be understood: invalid type: string \"none\", expected a...
"
        );
    }

    #[tokio::test]
    async fn all_namespaces_have_a_column_and_wide_has_more() {
        let everywhere = "/apis/bellwether.dev/v1alpha1/rollouts";
        let cluster = Fake::default().on("GET", everywhere, list_of(&shop()[1..2]));
        let (out, _) = printed(cluster, Which::All(Scope::Cluster, None), Some(Format::Wide)).await;
        assert_eq!(
            out,
            "\
NAMESPACE   NAME       PHASE         STEP   WEIGHT   STABLE       CANARY       DEPLOYMENT   STABLE-PODS   CANARY-PODS   ATTEMPT   WAITS-FOR   AGE   MESSAGE
shop        checkout   Progressing   more   20       6c9f7d5b44   tkz4bnq2xw   checkout     5/5           1/1           1         Observing   3d    step more at 20 %: watched for 63s of 5m
"
        );
    }

    #[tokio::test]
    async fn steps_that_were_edited_meanwhile_are_said_beside_the_table() {
        let edited = with(in_flight(), &json!({"spec": {"steps": [{"name": "one", "weight": 5, "observe": "1m"}]}}));
        let cluster = Fake::default().on("GET", format!("{ROLLOUTS}/checkout"), edited);
        let (out, err) = printed(cluster, named(&["checkout"]), None).await;
        assert_eq!((out.lines().count(), err), (2, format!("shop/checkout: {STEPS_EDITED}\n")));
    }

    #[tokio::test]
    async fn objects_are_printed_with_all_their_fields() {
        let unknown = with(at_rest(), &json!({"spec": {"someday": {"more": 1}}}));
        let cluster = Fake::default().on("GET", format!("{ROLLOUTS}/checkout"), unknown.clone());
        let (out, _) = printed(cluster, named(&["checkout"]), Some(Format::Json)).await;
        let expected = with(unknown, &json!({"metadata": {"managedFields": null}}));
        assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), expected);

        let items: Vec<_> =
            shop().iter().map(|item| with(item.clone(), &json!({"kind": null, "apiVersion": null}))).collect();
        let cluster = Fake::default().on("GET", ROLLOUTS, list_of(&items));
        let (out, _) = printed(cluster, here(), Some(Format::Yaml)).await;
        let list: Value = serde_saphyr::from_str(&out).unwrap();
        assert_eq!((&list["kind"], &list["items"][1]["kind"]), (&json!("List"), &json!("Rollout")));
    }

    #[tokio::test]
    async fn nothing_is_said_to_be_nothing_unless_the_namespace_is_missing() {
        let cluster = Fake::default().on("GET", ROLLOUTS, list_of(&[])).on(
            "GET",
            "/api/v1/namespaces/shop",
            json!({"metadata": {"name": "shop"}}),
        );
        let (out, err) = printed(cluster, here(), None).await;
        assert_eq!((out.as_str(), err.as_str()), ("", "There are no Rollouts in namespace shop.\n"));

        let cluster = Fake::default()
            .on("GET", ROLLOUTS, list_of(&[]))
            .refuse("GET", "/api/v1/namespaces/shop", 404, &json!({"name": "shop", "kind": "namespaces"}), "gone")
            .on("GET", "/api/v1/namespaces", list_of(&[json!({"metadata": {"name": "shop-eu"}})]));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let error = get(&mut session(&cluster, &mut out, &mut err, None), &here()).await.unwrap_err();
        let failure = error.downcast_ref::<Failure>().unwrap();
        assert_eq!(failure.words, "there is no namespace shop");
        assert_eq!(failure.hint.as_deref(), Some("did you mean shop-eu?"));
    }

    #[tokio::test]
    async fn a_rollout_that_is_missing_is_answered_with_near_names() {
        let cluster = Fake::default()
            .refuse(
                "GET",
                format!("{ROLLOUTS}/chekout"),
                404,
                &json!({"name": "chekout", "kind": "rollouts"}),
                "not found",
            )
            .refuse("GET", "/api/v1/namespaces/shop", 403, &json!({"name": "shop"}), "forbidden")
            .on("GET", ROLLOUTS, list_of(&shop()));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let error = get(&mut session(&cluster, &mut out, &mut err, None), &named(&["chekout"])).await.unwrap_err();
        let failure = error.downcast_ref::<Failure>().unwrap();
        assert_eq!(failure.words, "there is no Rollout chekout in namespace shop");
        assert_eq!(failure.hint.as_deref(), Some("did you mean checkout?"));
    }

    #[tokio::test]
    async fn labels_choose_and_names_are_printed_for_other_commands() {
        let cluster = Fake::default().on("GET", format!("{ROLLOUTS}?labelSelector=team%3Dpay"), list_of(&shop()[..2]));
        let pay = Which::All(Scope::Namespace, Some("team=pay".to_owned()));
        let (out, err) = printed(cluster, pay.clone(), Some(Format::Name)).await;
        assert_eq!(
            (out.as_str(), err.as_str()),
            ("rollout.bellwether.dev/cart\nrollout.bellwether.dev/checkout\n", "")
        );
        let cluster = Fake::default().on("GET", format!("{ROLLOUTS}?labelSelector=team%3Dpay"), list_of(&[])).refuse(
            "GET",
            "/api/v1/namespaces/shop",
            403,
            &json!({"name": "shop"}),
            "forbidden",
        );
        let (_, err) = printed(cluster, pay, None).await;
        assert_eq!(err, "There are no Rollouts with labels team=pay in namespace shop.\n");
    }

    #[tokio::test]
    async fn of_several_names_those_are_printed_that_are_there() {
        let cluster = Fake::default()
            .on("GET", format!("{ROLLOUTS}/checkout"), in_flight())
            .refuse("GET", format!("{ROLLOUTS}/cartt"), 404, &json!({"name": "cartt", "kind": "rollouts"}), "not found")
            .refuse("GET", "/api/v1/namespaces/shop", 403, &json!({"name": "shop"}), "forbidden")
            .on("GET", ROLLOUTS, list_of(&shop()));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut session = session(&cluster, &mut out, &mut err, None);
        let error = get(&mut session, &named(&["cartt", "checkout"])).await.unwrap_err();
        assert_eq!(error.to_string(), "there is no Rollout cartt in namespace shop");
        assert!(text(&out).contains("\ncheckout   Progressing"), "{}", text(&out));
    }
}
