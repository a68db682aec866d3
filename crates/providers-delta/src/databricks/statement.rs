//! Statements in a SQL warehouse: submitted, waited for, and cancelled when the caller goes away.
//!
//! Decides how long is waited between two looks at a statement, and that one which nobody waits for
//! any more does not run on. Knows statements as text and results as parts that are not read yet.

use std::sync::Arc;
use std::time::{Duration, Instant};

use provender_core::{Context, Error, Result, codes};
use provender_engine::parts::within;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::error::{Told, statement_error};
use super::http::{Ask, Http};

const PATH: &str = "api/2.0/sql/statements";
/// How long the server holds the first request: short statements are answered by it.
const HELD: &str = "10s";
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LONGEST_LOOK: Duration = Duration::from_secs(2);
/// How long a call that has ended waits for its statement to be cancelled.
const CANCEL_WAIT: Duration = Duration::from_secs(5);

/// One statement: its text, and texts for its named parameters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statement {
    pub sql: String,
    /// Name and value of parameters of type STRING.
    pub parameters: Vec<(&'static str, String)>,
    /// Whether running it twice is no harm.
    pub is_repeatable: bool,
}

impl Statement {
    /// A statement that only reads.
    pub(crate) fn read(sql: impl Into<String>) -> Self {
        Self {
            sql: sql.into(),
            is_repeatable: true,
            ..Self::default()
        }
    }

    /// A statement that changes something.
    pub(crate) fn change(sql: impl Into<String>) -> Self {
        Self {
            sql: sql.into(),
            ..Self::default()
        }
    }
}

/// A SQL warehouse. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Warehouse {
    pub http: Http,
    id: Arc<str>,
    catalog: Arc<str>,
    schema: Arc<str>,
}

/// A statement that has ended well.
#[derive(Debug)]
pub(crate) struct Finished {
    pub statement_id: String,
    pub manifest: Manifest,
    pub result: ResultPart,
}

/// What a result consists of.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Manifest {
    #[serde(default)]
    pub schema: ManifestSchema,
    #[serde(default)]
    pub chunks: Vec<Chunk>,
    #[serde(default)]
    pub total_chunk_count: i64,
    #[serde(default)]
    pub truncated: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ManifestSchema {
    #[serde(default)]
    pub columns: Vec<ManifestColumn>,
}

/// A column of a result.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ManifestColumn {
    #[serde(default)]
    pub name: String,
    /// The type as SQL spells it.
    #[serde(default)]
    pub type_text: String,
}

/// A part of a result.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Chunk {
    pub chunk_index: i64,
    #[serde(default)]
    pub byte_count: u64,
}

/// Links to parts of a result.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ResultPart {
    #[serde(default)]
    pub external_links: Vec<Link>,
}

/// A link to one part. `Debug` does not show it, for whoever has it may read.
#[derive(Clone, Deserialize)]
pub(crate) struct Link {
    pub chunk_index: i64,
    pub external_link: String,
    #[serde(default)]
    pub expiration: Option<String>,
    #[serde(default)]
    pub http_headers: Option<serde_json::Map<String, Value>>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("chunk_index", &self.chunk_index)
            .field("expiration", &self.expiration)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Deserialize)]
struct Answer {
    statement_id: String,
    status: Status,
    #[serde(default)]
    manifest: Option<Manifest>,
    #[serde(default)]
    result: Option<ResultPart>,
}

#[derive(Debug, Deserialize)]
struct Status {
    state: String,
    #[serde(default)]
    error: Option<Told>,
}

impl Warehouse {
    pub(crate) fn new(http: Http, id: &str, catalog: &str, schema: &str) -> Self {
        Self {
            http,
            id: id.into(),
            catalog: catalog.into(),
            schema: schema.into(),
        }
    }

    /// The warehouse's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What the workspace says of the warehouse's state, such as `RUNNING`.
    ///
    /// # Errors
    /// As [`Http::ask`].
    pub(crate) async fn state(&self, cx: &Context) -> Result<String> {
        #[derive(Deserialize)]
        struct Found {
            #[serde(default)]
            state: String,
        }
        let path = format!("api/2.0/sql/warehouses/{}", self.id);
        let found: Found = self.http.ask(cx, &Ask::get(path)).await?;
        Ok(found.state)
    }

    /// Runs a statement to its end, however long its warehouse takes to start. A call that ends
    /// earlier cancels it; so does dropping the future.
    ///
    /// # Errors
    /// `P503` without an answer, `P530`, `P531` for refusals, `P905`, `P906`, and what
    /// [`statement_error`] makes of a failure.
    pub(crate) async fn run(&self, cx: &Context, statement: &Statement) -> Result<Finished> {
        cx.check()?;
        let mut parameters = Vec::new();
        for (name, value) in &statement.parameters {
            parameters.push(json!({"name": name, "type": "STRING", "value": value}));
        }
        let body = json!({
            "warehouse_id": &*self.id,
            "catalog": &*self.catalog,
            "schema": &*self.schema,
            "statement": statement.sql,
            "parameters": parameters,
            "format": "ARROW_STREAM",
            "disposition": "EXTERNAL_LINKS",
            "wait_timeout": HELD,
            "on_wait_timeout": "CONTINUE",
        });
        let ask = Ask {
            is_repeatable: statement.is_repeatable,
            ..Ask::post(PATH, body)
        };
        let mut running = Running {
            http: self.http.clone(),
            submitting: None,
            id: None,
            state: "PENDING".to_owned(),
        };
        match within(cx, running.finish(ask)).await {
            Ok(done) => done,
            Err(ended) => {
                let is_starting = running.state == "PENDING";
                // A process that ends now must not be quicker than the request that cancels.
                let _ = tokio::time::timeout(CANCEL_WAIT, running.left().cancel()).await;
                Err(match is_starting && ended.code() == codes::DEADLINE.id {
                    true => ended
                        .prefixed(format!(
                            "SQL warehouse {} had not begun the statement: ",
                            self.id
                        ))
                        .help(
                            "start the warehouse before, use a serverless one, or allow more time",
                        ),
                    false => ended,
                })
            }
        }
    }
}

/// A statement on its way. Dropping it cancels the statement.
struct Running {
    http: Http,
    /// The first request, which goes on when nobody waits, so that the statement's id is known.
    submitting: Option<JoinHandle<Result<Answer>>>,
    id: Option<String>,
    state: String,
}

impl Running {
    async fn finish(&mut self, ask: Ask) -> Result<Finished> {
        let http = self.http.clone();
        let submitting = self
            .submitting
            .insert(tokio::spawn(async move { http.send(&ask).await }));
        let answer = submitting.await;
        self.submitting = None;
        let mut answer: Answer = answer
            .map_err(|error| Error::new(&codes::INTERNAL, "a request was lost").source(error))??;
        let mut pause = FIRST_LOOK;
        let begun = Instant::now();
        loop {
            self.state.clone_from(&answer.status.state);
            match answer.status.state.as_str() {
                "PENDING" | "RUNNING" => {}
                "SUCCEEDED" => {
                    self.id = None;
                    return Ok(Finished {
                        statement_id: answer.statement_id,
                        manifest: answer.manifest.unwrap_or_default(),
                        result: answer.result.unwrap_or_default(),
                    });
                }
                state => {
                    self.id = None;
                    return Err(ended(state, &answer));
                }
            }
            self.id = Some(answer.statement_id.clone());
            tracing::trace!(
                statement_id = answer.statement_id,
                state = answer.status.state,
                waited_ms = begun.elapsed().as_millis() as u64,
                "a statement is waited for"
            );
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_LOOK);
            let look = Ask::get(format!("{PATH}/{}", answer.statement_id));
            answer = self.http.send(&look).await?;
        }
    }

    /// What is left to cancel; nothing after that.
    fn left(&mut self) -> Left {
        Left {
            http: self.http.clone(),
            submitting: self.submitting.take(),
            id: self.id.take(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let left = self.left();
        if left.submitting.is_none() && left.id.is_none() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // A runtime that ends drops this at once, so it must not be a value that spawns when it is dropped.
            runtime.spawn(left.cancel());
        }
    }
}

/// A statement that nobody waits for any more.
struct Left {
    http: Http,
    submitting: Option<JoinHandle<Result<Answer>>>,
    id: Option<String>,
}

impl Left {
    async fn cancel(mut self) {
        if let Some(submitting) = self.submitting.take()
            && let Ok(Ok(answer)) = submitting.await
        {
            self.id = Some(answer.statement_id);
        }
        if let Some(id) = self.id.take() {
            let ask = Ask::post(format!("{PATH}/{id}/cancel"), json!({}));
            let cancelled: Result<Value> = self.http.send(&ask).await;
            if let Err(error) = cancelled {
                tracing::warn!(statement_id = id, %error, "a statement could not be cancelled");
            }
        }
    }
}

fn ended(state: &str, answer: &Answer) -> Error {
    let id = answer.statement_id.as_str();
    match (state, &answer.status.error) {
        ("CANCELED", _) => Error::new(
            &codes::CANCELLED,
            "the statement was cancelled in Databricks",
        )
        .help("somebody cancelled it, or the warehouse was stopped")
        .context("statement_id", id),
        ("CLOSED", _) => Error::new(
            &codes::OFFLINE_UNAVAILABLE,
            "the result of a statement is no longer there",
        )
        .help("try again")
        .context("statement_id", id),
        (_, Some(told)) => statement_error(told, id),
        (state, None) => Error::new(
            &codes::OFFLINE_REQUEST,
            format!("a statement in Databricks ended as {state}"),
        )
        .context("statement_id", id),
    }
}
