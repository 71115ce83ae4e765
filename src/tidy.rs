//! Rules of the house, checked: who imports whom, generated files in step, no file that is two, nothing that does not belong.
use crate::{api, metrics, plan, traffic};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Allowed imports, lowest layer first: a module may use itself and what its row names.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("vocab", &[]),
    ("duration", &[]),
    ("formula", &[]),
    ("signature", &[]),
    ("judge", &["vocab", "duration"]),
    ("traffic", &["formula", "vocab", "duration"]),
    // What metrics read is what the judge takes.
    ("metrics", &["judge", "formula", "signature", "vocab", "duration"]),
    ("notify", &["signature", "vocab", "duration"]),
    ("outbound", &["vocab", "duration"]),
    ("api", &["traffic", "metrics", "notify", "judge", "vocab", "duration"]),
    ("plan", &["api", "traffic", "metrics", "notify", "judge", "vocab", "duration"]),
    ("telemetry", &[]),
    ("serve", &["telemetry"]),
    ("cluster", &["plan", "api", "traffic", "metrics", "notify", "outbound", "telemetry", "vocab", "duration"]),
    ("controller", &["cluster", "plan", "api", "traffic", "telemetry", "vocab"]),
    ("cli", &["plan", "judge", "api", "traffic", "metrics", "vocab", "duration"]),
];

/// Words that only the hands may say.
const ONLY_WITH_A_CLIENT: &[&str] = &["kube::Client", "Api::", "reqwest", "tokio::"];

/// A file that is longer is asking to be two. Tests beside the code do not count.
const LONGEST_FILE: usize = 700;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![folder.to_path_buf()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { todo.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<(PathBuf, String)> {
    let files =
        files_below(&root().join("src")).into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs"));
    files.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The module that a file belongs to: its first folder below `src`, or its own name.
fn module_of(path: &Path) -> String {
    let below = path.strip_prefix(root().join("src")).unwrap();
    below.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

fn is_test(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "tests.rs") || path.to_str().unwrap().contains("/tests/")
}

fn shipped(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap()
}

/// The first names of all paths that begin with `crate::`, groups included.
fn imports(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in text.split("crate::").skip(1) {
        let name =
            |text: &str| -> String { text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
        let Some(group) = path.strip_prefix('{') else {
            names.insert(name(path));
            continue;
        };
        let (mut depth, mut start) = (0, 0);
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => {
                    names.insert(name(&group[start..at]));
                    break;
                }
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    names.insert(name(&group[start..at]));
                    start = at + 1;
                }
                _ => {}
            }
        }
    }
    names.remove("");
    names
}

#[test]
fn imports_only_point_down() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let module = module_of(&path);
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == module) else { continue };
        if is_test(&path) {
            continue;
        }
        for name in imports(shipped(&text)) {
            if name != module && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{}: {module} may not import {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_import_rule_sees_groups_and_single_paths() {
    let found = imports("use crate::{api::{A, B}, vocab};\nuse crate::plan::x;");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["api", "plan", "vocab"]);
}

#[test]
fn every_module_has_a_place_in_the_table() {
    let known: BTreeSet<_> = MAY_IMPORT.iter().map(|(name, _)| (*name).to_owned()).collect();
    let modules: BTreeSet<_> = sources().iter().map(|(path, _)| module_of(path)).collect();
    let free: BTreeSet<_> = ["lib", "bin", "sim", "tidy"].map(str::to_owned).into();
    assert_eq!(modules.difference(&free).cloned().collect::<BTreeSet<_>>(), known);
}

#[test]
fn the_mind_has_no_hands() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let module = module_of(&path);
        if !["plan", "judge", "traffic", "metrics", "notify", "api", "vocab", "duration"].contains(&module.as_str()) {
            continue;
        }
        for word in ONLY_WITH_A_CLIENT {
            if shipped(&text).lines().any(|line| line.contains(word) && !line.trim_start().starts_with("//"))
                && !is_test(&path)
            {
                wrong.push(format!("{} says {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn no_file_is_a_giant_and_each_says_what_it_is_for() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let lines = shipped(&text).lines().count();
        if lines > LONGEST_FILE && !is_test(&path) {
            wrong.push(format!("{} has {lines} lines; {LONGEST_FILE} is the most", path.display()));
        }
        if !text.starts_with("//!") && !text.starts_with("#![doc = include_str!") {
            wrong.push(format!("{} does not open with what it is for", path.display()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_unfinished() {
    let marks = ["TO".to_owned() + "DO", "FIX".to_owned() + "ME", "XX".to_owned() + "X", "todo".to_owned() + "!("];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for mark in &marks {
            if text.contains(mark.as_str()) {
                wrong.push(format!("{} has a {mark}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A generated file is as the code would write it; `UPDATE=1` writes it.
fn in_step(path: &Path, wanted: &str) {
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, wanted).unwrap();
    }
    let stored = fs::read_to_string(path).unwrap_or_default();
    assert!(stored == wanted, "{} is out of step: run `UPDATE=1 cargo test --lib tidy`", path.display());
}

#[test]
fn generated_definitions_are_in_step() {
    for definition in api::definitions() {
        let text = api::definition_text(&definition).unwrap();
        assert!(text.len() < 256 * 1024, "{} is too large to be applied", definition.spec.names.kind);
        let name = format!("{}.yaml", definition.spec.names.plural);
        in_step(&root().join("crds").join(&name), &text);
        in_step(&root().join("charts/bellwether/files/crds").join(&name), &text);
    }
}

const REFERENCE: &str = "\
<!-- Written by a test from the code: `UPDATE=1 cargo test --lib tidy`. -->
# Reference

## Kinds

What their fields mean, and their bounds, stands in the definitions beside this file. A cluster that has them shows it:
`kubectl explain bwr.spec`, and all names at once with `kubectl explain bwr.spec --recursive`.

| kind | is | example |
|---|---|---|
";

const PRESETS: &str = "
## Presets

Histograms may be classic or native ones. Proxies that do not tell the two Services apart in what they count have no preset,
such as Envoy Gateway, which counts by rule of a route, NGINX Gateway Fabric with the open-source NGINX, which counts for a
whole gateway, and APISIX and Kong: take what the pods themselves count.

| preset | counts | told apart by |
|---|---|---|
";

#[test]
fn the_reference_of_kinds_reasons_and_presets_is_in_step() {
    let mut text = REFERENCE.to_owned();
    let row = |text: &mut String, cells: &[&str]| {
        text.push_str("| ");
        text.push_str(&cells.join(" | "));
        text.push_str(" |\n");
    };
    for definition in api::definitions() {
        let names = &definition.spec.names;
        let known_as: Vec<_> = std::iter::once(&names.plural).chain(names.short_names.iter().flatten()).collect();
        let known_as = known_as.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let file = format!("examples/{}.yaml", names.singular.as_ref().unwrap());
        assert!(root().join("crds").join(&file).exists(), "there is no {file}");
        let about = serde_json::to_value(&definition).unwrap();
        let about = &about["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"];
        let example = format!("[{file}]({file})");
        row(&mut text, &[&format!("{} ({known_as})", names.kind), about.as_str().unwrap(), &example]);
    }
    text.push_str("\n## Reasons\n\nEvents, conditions, alerts and numbers use these words.\n\n| reason | sort | meaning |\n|---|---|---|\n");
    for reason in api::Reason::ALL {
        row(&mut text, &[reason.as_str(), &format!("{:?}", reason.kind()), reason.meaning().trim()]);
    }
    text.push_str(PRESETS);
    for preset in metrics::presets::all() {
        let told_apart_by = match preset.place {
            metrics::presets::Place::Proxy { name, .. } => format!("backends, at {name}"),
            metrics::presets::Place::Pods => "pods".to_owned(),
        };
        row(&mut text, &[&format!("`{}`", preset.name), preset.about, &told_apart_by]);
    }
    text.push_str(
        "\n## Routes\n\nA step's `match` and `mirror` need a route that is the operator's to write. Where a route's status does not \
         tell when the data plane has taken a change, the time in the last column is all that is waited for; elsewhere it is \
         given besides. `settle` of a route changes it. Where Istio answers for a route of the Gateway API it is 10s, and 60s where \
         a load balancer of Google's or Amazon's clouds does.\n\n\
         Of a route of the Gateway API a mirror, and a match by method or query, also need a gateway whose class lists the \
         feature under `status.supportedFeatures`; of one whose class lists nothing, as those of Istio, Contour and Envoy Gateway, the \
         route's `template.features` says it.\n\n\
         Where sessions can stay, a client may be bound to the Service that answered it first, by a field or an annotation of \
         the route (`sessionPersistence`, `sticky`, `affinity`, `targetGroupStickinessConfig`) that is yours and stays as it \
         stands. Of Services with several ports each rule is weighed with the port that it names; where one object has no rules \
         for several ports, there is one object for each.\n\n\
         | kind | group and version | router | weights | match | mirror | each request chooses | sessions can stay | status tells | several ports | time |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for router in traffic::ROUTERS {
        let can = |capability| if router.can(capability) { "yes" } else { "no" };
        for kind in router.resources() {
            row(
                &mut text,
                &[
                    kind.kind,
                    &kind.api_version(),
                    router.name(),
                    can(traffic::Capability::Weight),
                    can(traffic::Capability::Match),
                    can(traffic::Capability::Mirror),
                    can(traffic::Capability::Requests),
                    can(traffic::Capability::Sessions),
                    can(traffic::Capability::Status),
                    can(traffic::Capability::Ports),
                    &router.settle().to_string(),
                ],
            );
        }
    }
    text.push_str(
        "\nObjects of any other kind carry weights as `custom` of the route says. They are not watched but looked at by time, and the \
         chart's value `customRoutes` lets the operator write them: [examples/custom.yaml](examples/custom.yaml).\n",
    );
    text.push_str(
        "\n## Numbers\n\nWhat `/metrics` of the operator tells about itself and about Rollouts. Of several replicas the one that acts has \
         those of Rollouts. A histogram is read by `_bucket`, `_sum` and `_count`.\n\n| number | sort | labels | meaning |\n|---|---|---|---|\n",
    );
    for number in crate::telemetry::tests::numbers() {
        row(&mut text, &number.each_ref().map(String::as_str));
    }
    in_step(&root().join("crds/README.md"), &text);
}

/// Each value of the chart by its path, with its default and the comment above it. A map without a default of its own is told
/// by its fields; the containers' resources are told as one.
fn chart_values(text: &str) -> Vec<(String, String, String)> {
    let (mut values, mut path, mut comment) = (Vec::new(), Vec::<&str>::new(), Vec::new());
    for line in text.lines() {
        let field = line.trim_start();
        if let Some(words) = field.strip_prefix("# ") {
            comment.push(words);
            continue;
        }
        let comment = std::mem::take(&mut comment).join(" ");
        let Some((name, default)) = field.split_once(':') else { continue };
        path.truncate((line.len() - field.len()) / 2);
        path.push(name);
        match default.trim() {
            "" if path == ["resources"] => values.push((path.join("."), "see values.yaml".to_owned(), comment)),
            "" => {}
            _ if path[0] == "resources" => {}
            default => values.push((path.join("."), format!("`{default}`"), comment)),
        }
    }
    values
}

#[test]
fn every_value_of_the_chart_is_explained() {
    let chart = root().join("charts/bellwether");
    let read = |name: &str| fs::read_to_string(chart.join(name)).unwrap();
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let mut rows = Vec::new();
    for (path, default, comment) in chart_values(&read("values.yaml")) {
        assert!(!comment.is_empty(), "{path} has no comment");
        let place = format!("/properties/{}", path.replace('.', "/properties/"));
        assert!(schema.pointer(&place).is_some(), "{path} is not in the schema");
        rows.push(format!("| `{path}` | {default} | {comment} |\n"));
    }
    let readme = read("README.md");
    let (above, table) = readme.split_once("## Values\n").unwrap();
    let head: String = table.split_inclusive('\n').take_while(|line| !line.starts_with("| `")).collect();
    let below: String = table[head.len()..].split_inclusive('\n').skip_while(|line| line.starts_with("| `")).collect();
    in_step(&chart.join("README.md"), &format!("{above}## Values\n{head}{}{below}", rows.concat()));
}

#[test]
fn alert_rules_name_numbers_and_phases_and_reasons_that_there_are() {
    let rules = fs::read_to_string(root().join("crds/examples/prometheusrule.yaml")).unwrap();
    let expressions: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    assert!(expressions.len() >= 6);
    let numbers = crate::telemetry::tests::numbers();
    let known: BTreeSet<_> = numbers.iter().map(|number| number[0].trim_matches('`')).collect();
    for expression in &expressions {
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let named: Vec<_> = words.filter(|word| word.starts_with("bellwether_")).collect();
        assert!(!named.is_empty() && named.iter().all(|name| known.contains(name)), "{expression}");
        for quoted in expression.split('"').skip(1).step_by(2).flat_map(|values| values.split('|')) {
            let word = Value::from(quoted);
            let is_phase = serde_json::from_value::<api::Phase>(word.clone()).is_ok();
            assert!(is_phase || serde_json::from_value::<api::Reason>(word).is_ok(), "{quoted} in {expression}");
        }
    }
}

/// The objects of our kinds in files that people copy from or the test bed applies.
fn shown_objects() -> Vec<(PathBuf, Value)> {
    let files = ["crds/examples", "hack"].map(|folder| files_below(&root().join(folder))).concat();
    let manifests = files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "yaml"));
    let objects = manifests.flat_map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        let parse = |text: &str| serde_saphyr::from_str::<Value>(text).unwrap();
        text.split("\n---\n").map(|text| (path.clone(), parse(text))).collect::<Vec<_>>()
    });
    objects.filter(|(_, object)| object["apiVersion"].as_str().is_some_and(|it| it.starts_with(api::GROUP))).collect()
}

/// Whether an object is one of its kind, and says nothing that the operator would refuse.
fn carried_out(kind: &str, object: &Value) -> Result<(), String> {
    fn parsed<K: serde::de::DeserializeOwned>(object: &Value) -> Result<K, String> {
        serde_json::from_value(object.clone()).map_err(|error| error.to_string())
    }
    let provides = |source| metrics::check_provider(source).map_err(|complaint| complaint.to_string());
    match kind {
        "Rollout" => plan::check(&parsed::<api::Rollout>(object)?.spec).map_err(|complaint| complaint.to_string()),
        "RolloutAction" => parsed::<api::RolloutAction>(object).map(|_| ()),
        "MetricProvider" => provides(&parsed::<api::MetricProvider>(object)?.spec.source),
        "ClusterMetricProvider" => provides(&parsed::<api::ClusterMetricProvider>(object)?.spec.source),
        "AnalysisTemplate" => parsed::<api::AnalysisTemplate>(object).map(|_| ()),
        "ClusterAnalysisTemplate" => parsed::<api::ClusterAnalysisTemplate>(object).map(|_| ()),
        "AlertReceiver" => parsed::<api::AlertReceiver>(object).map(|_| ()),
        other => Err(format!("{other} is checked by nobody")),
    }
}

#[test]
fn every_object_that_is_shown_can_be_carried_out() {
    fn unknown(path: &str, value: &Value, schema: &Value, wrong: &mut Vec<String>) {
        if schema["x-kubernetes-preserve-unknown-fields"] == true || !schema["additionalProperties"].is_null() {
            return;
        }
        for (name, value) in value.as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            match &schema["properties"][name] {
                Value::Null => wrong.push(format!("{path}: there is no such field")),
                schema => unknown(&path, value, schema, wrong),
            }
        }
        for item in value.as_array().into_iter().flatten() {
            unknown(path, item, &schema["items"], wrong);
        }
    }
    let definitions = api::definitions();
    let mut wrong = Vec::new();
    for (path, object) in shown_objects() {
        let kind = object["kind"].as_str().unwrap();
        let definition = definitions.iter().find(|definition| definition.spec.names.kind == kind).unwrap();
        let schema = serde_json::to_value(definition).unwrap();
        let schema = &schema["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let at = format!("{}: spec", path.display());
        unknown(&at, &object["spec"], schema, &mut wrong);
        wrong.extend(carried_out(kind, &object).err().map(|why| format!("{at}: {why}")));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_definition_has_descriptions_and_bounds() {
    fn walk(path: &str, schema: &serde_json::Value, wrong: &mut Vec<String>) {
        if schema["x-kubernetes-preserve-unknown-fields"] == true || path.contains(".status") {
            return;
        }
        let kind = schema["type"].as_str().unwrap_or_default();
        if kind == "array" && schema["maxItems"].is_null() {
            wrong.push(format!("{path}: a list without maxItems"));
        }
        if kind == "string" && ["maxLength", "enum", "format"].iter().all(|bound| schema[*bound].is_null()) {
            wrong.push(format!("{path}: a text without maxLength"));
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            if property["description"].is_null() {
                wrong.push(format!("{path}: no description"));
            }
            walk(&path, property, wrong);
        }
        walk_items(path, schema, wrong);
    }
    fn walk_items(path: &str, schema: &serde_json::Value, wrong: &mut Vec<String>) {
        if !schema["items"].is_null() {
            walk(&format!("{path}[]"), &schema["items"], wrong);
        }
    }
    let mut wrong = Vec::new();
    for definition in api::definitions() {
        let value = serde_json::to_value(&definition).unwrap();
        let schema = &value["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let kind = &definition.spec.names.kind;
        walk(&format!("{kind}.spec"), &schema["properties"]["spec"], &mut wrong);
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The API server counts what a rule may cost, times the items of every list above it, and refuses a definition whose rules
/// may cost too much.
#[test]
fn no_rule_lies_below_a_list_without_bounds() {
    fn walk(path: &str, schema: &serde_json::Value, unbounded: &[String], wrong: &mut Vec<String>) {
        if !schema["x-kubernetes-validations"].is_null() {
            wrong.extend(unbounded.iter().map(|list| format!("{path} has a rule, and {list} no maxItems")));
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            walk(&format!("{path}.{name}"), property, unbounded, wrong);
        }
        if !schema["items"].is_null() {
            let here = schema["maxItems"].is_null().then(|| path.to_owned());
            let unbounded: Vec<_> = unbounded.iter().cloned().chain(here).collect();
            walk(&format!("{path}[]"), &schema["items"], &unbounded, wrong);
        }
    }
    let mut wrong = Vec::new();
    for definition in api::definitions() {
        let value = serde_json::to_value(&definition).unwrap();
        let schema = &value["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        walk(&definition.spec.names.kind, schema, &[], &mut wrong);
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
