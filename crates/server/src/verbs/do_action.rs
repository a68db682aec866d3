//! DoAction: what is neither reading nor writing rows, as JSON in and out.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_flight::{Action, ActionType};
use async_stream::try_stream;
use bytes::Bytes;
use provender_core::model::split_version;
use provender_core::names::did_you_mean;
use provender_core::provider::Author;
use provender_core::{Context, Error, Result, codes};
use provender_definitions::{Loaded, load_definitions, parse_definitions};
use provender_store::{Materialize, MaterializeRange, Plan, Progress};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::answering::Answer;
use crate::auth::Role;
use crate::read::instant;
use crate::state::{Call, State};

/// Name, what it takes, what it needs.
const ACTIONS: [(&str, &str, Role); 7] = [
    (
        "plan",
        r#"{"files": {"features/a.yaml": "..."}} or {} for the server's own folder: what apply would change"#,
        Role::Read,
    ),
    (
        "apply",
        r#"as plan, with {"allow_deletes": false, "message": ""}: applies it"#,
        Role::Admin,
    ),
    (
        "materialize",
        r#"{"start": ..., "end": ..., "views": [...]}; without start incrementally: streams progress"#,
        Role::Admin,
    ),
    ("list", "{}: what is applied", Role::Read),
    (
        "describe",
        r#"{"name": "view@2"}: one definition in full"#,
        Role::Read,
    ),
    (
        "status",
        "{}: what is materialised, and how fresh",
        Role::Read,
    ),
    ("health", "{}: whether the server answers", Role::Read),
];

/// What a message needs beside its body.
const SLACK_BYTES: usize = 64;

/// All actions.
pub(crate) fn types() -> Vec<ActionType> {
    ACTIONS
        .iter()
        .map(|(name, description, _)| ActionType {
            r#type: (*name).to_owned(),
            description: (*description).to_owned(),
        })
        .collect()
}

/// What an action needs of a token.
///
/// # Errors
/// `InvalidArgument` (`P406`) for an action that does not exist, with the nearest.
pub(crate) fn role(name: &str) -> Result<Role> {
    let found = ACTIONS.iter().find(|(known, ..)| *known == name);
    found.map(|(.., role)| *role).ok_or_else(|| {
        let names = || ACTIONS.iter().map(|(name, ..)| *name);
        let hint = did_you_mean(name, names());
        bad(format!("there is no action {name:?}")).help(if hint.is_empty() {
            format!("send one of {}", names().collect::<Vec<_>>().join(", "))
        } else {
            hint
        })
    })
}

/// Runs an action.
///
/// # Errors
/// `InvalidArgument` (`P406`) for a body that does not fit it, and what the store says.
pub(crate) async fn do_action(
    state: &Arc<State>,
    call: &Arc<Call>,
    action: Action,
) -> Result<Answer<arrow_flight::Result>> {
    let cx = &call.cx;
    let body = &action.body;
    let answer = match action.r#type.as_str() {
        "materialize" => return materialize(state.clone(), call.clone(), read(&action)?),
        "plan" => {
            let body: PlanBody = read(&action)?;
            let plan = plan(state, cx, body.files).await?;
            to_json(&plan)?
        }
        "apply" => apply(state, cx, read(&action)?).await?,
        "list" => {
            let Empty {} = read(&action)?;
            to_json(&state.store.list(cx).await?)?
        }
        "describe" => {
            let DescribeBody { name } = read(&action)?;
            let (name, version) = split_version(&name)
                .ok_or_else(|| bad(format!("{name:?} is no name of a definition")))?;
            to_json(&state.store.describe(cx, name, version).await?)?
        }
        "status" => {
            let Empty {} = read(&action)?;
            to_json(&state.store.status(cx).await?)?
        }
        "health" => {
            let Empty {} = read(&action)?;
            let revision = state.store.catalog(cx).await?.revision;
            json!({
                "status": "serving",
                "project": state.store.project(),
                "revision": revision,
                "version": env!("CARGO_PKG_VERSION"),
            })
        }
        other => {
            return Err(role(other)
                .err()
                .unwrap_or_else(|| bad(format!("{body:?}"))));
        }
    };
    let answer = line(&answer);
    let max_bytes = state.limits.wire.max_sent_bytes;
    if answer.body.len() + SLACK_BYTES > max_bytes {
        return Err(Error::new(
            &codes::MESSAGE_TOO_LARGE,
            format!(
                "the answer has {} bytes, and a message has at most {max_bytes}",
                answer.body.len()
            ),
        )
        .help("raise server.max_message_bytes, and the client's own limit with it"));
    }
    Ok(Box::pin(futures::stream::once(async move { Ok(answer) })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanBody {
    #[serde(default)]
    files: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApplyBody {
    #[serde(default)]
    files: Option<BTreeMap<String, String>>,
    #[serde(default)]
    allow_deletes: bool,
    #[serde(default)]
    message: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DescribeBody {
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MaterializeBody {
    #[serde(default)]
    start: Option<Value>,
    #[serde(default)]
    end: Option<Value>,
    #[serde(default)]
    views: Option<Vec<String>>,
}

async fn plan(
    state: &State,
    cx: &Context,
    files: Option<BTreeMap<String, String>>,
) -> Result<Plan> {
    let loaded = definitions(state, files)?;
    state.store.plan(cx, &loaded).await.map_err(first)
}

async fn apply(state: &State, cx: &Context, body: ApplyBody) -> Result<Value> {
    let plan = plan(state, cx, body.files).await?;
    if !body.allow_deletes && plan.has_deletes() {
        return Err(Error::new(
            &codes::DELETES_REFUSED,
            "the plan deletes definitions and their online data",
        )
        .help("look at the action \"plan\", then send \"allow_deletes\": true"));
    }
    let author = Author {
        name: cx
            .identity()
            .map_or_else(|| "flight".to_owned(), |identity| identity.name.clone()),
        message: body.message,
    };
    let applied = state.store.apply(cx, &plan, &author).await?;
    state.prepared.moved(&state.store, cx).await;
    Ok(json!({
        "revision": applied.revision,
        "plan": to_json(&plan)?,
        "warnings": applied.warnings,
    }))
}

fn definitions(state: &State, files: Option<BTreeMap<String, String>>) -> Result<Loaded> {
    match files {
        None => load_definitions(&state.store.config().base_path),
        Some(files) => {
            let files: Vec<(String, String)> = files.into_iter().collect();
            parse_definitions(&files)
        }
    }
    .map_err(first)
}

/// Streams a line of JSON for each step, the last with the outcome of every view.
fn materialize(
    state: Arc<State>,
    call: Arc<Call>,
    body: MaterializeBody,
) -> Result<Answer<arrow_flight::Result>> {
    let start_us = instant("start", body.start.as_ref())?;
    let end_us = instant("end", body.end.as_ref())?;
    let range = match (start_us, end_us) {
        (Some(start_us), Some(end_us)) => MaterializeRange::Explicit { start_us, end_us },
        (None, end_us) => MaterializeRange::Incremental { end_us },
        (Some(_), None) => {
            return Err(bad(
                "the field \"end\" is missing beside \"start\"".to_owned()
            ));
        }
    };
    let request = Materialize {
        views: body.views,
        range,
    };
    Ok(Box::pin(try_stream! {
        let place = state.background.admit()?;
        let (send, mut steps) = mpsc::unbounded_channel::<Value>();
        let (cx, store) = (place.context(&call.cx), state.store.clone());
        let on_progress = Arc::new(move |step: Progress| {
            let _ = send.send(step_json(&step));
        });
        let work = async move { store.materialize(&cx, &request, on_progress).await };
        let run = state.background.run(&call.cx, Some(place), work);
        futures::pin_mut!(run);
        let outcome = loop {
            tokio::select! {
                outcome = &mut run => break outcome,
                Some(step) = steps.recv() => yield line(&step),
            }
        };
        while let Ok(step) = steps.try_recv() {
            yield line(&step);
        }
        let views = outcome?;
        // Services follow their newest version as soon as its views are filled.
        state.prepared.moved(&state.store, &call.cx).await;
        yield line(&json!({"done": true, "views": views.len()}));
    }))
}

fn step_json(step: &Progress) -> Value {
    match step {
        Progress::Reading { view, n_rows } => {
            json!({"view": view.view, "version": view.version, "read": n_rows})
        }
        Progress::Writing {
            view,
            n_rows,
            n_total,
        } => {
            json!({"view": view.view, "version": view.version, "written": n_rows, "total": n_total})
        }
        Progress::Done(done) => json!({
            "view": done.view.view,
            "version": done.view.version,
            "rows": done.summary.n_rows,
            "start_us": done.interval.start_us,
            "end_us": done.interval.end_us,
            "skipped": done.skipped,
            "lost": done.lost,
        }),
    }
}

/// Reads an action's body; an empty one is `{}`.
fn read<T: DeserializeOwned>(action: &Action) -> Result<T> {
    let body: &[u8] = if action.body.is_empty() {
        b"{}"
    } else {
        &action.body
    };
    let name = &action.r#type;
    let mut json = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        bad(if path == "." {
            format!("the body of the action {name:?}: {inner}")
        } else {
            format!("the field {path:?} of the action {name:?}: {inner}")
        })
    })
}

fn to_json(value: &impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| {
        Error::new(&codes::INTERNAL, "an answer cannot be written as JSON").source(error)
    })
}

fn line(value: &Value) -> arrow_flight::Result {
    arrow_flight::Result {
        body: Bytes::from(value.to_string()),
    }
}

/// The first of several mistakes, with how many more there are.
fn first(errors: Vec<Error>) -> Error {
    let n_more = errors.len().saturating_sub(1);
    let mut errors = errors.into_iter();
    let first = errors
        .next()
        .unwrap_or_else(|| Error::new(&codes::INTERNAL, "definitions failed without an error"));
    if n_more == 0 {
        return first;
    }
    first.prefixed(format_args!("{} mistakes, the first: ", n_more + 1))
}

fn bad(message: String) -> Error {
    Error::new(&codes::BAD_REQUEST, message)
}
