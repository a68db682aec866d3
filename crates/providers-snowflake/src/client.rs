//! The client: one shared session for what needs no session, sessions of its own for what does.
//!
//! Decides when a session is opened anew, and that a call which is cancelled or out of time is
//! cancelled in Snowflake too. Knows statements as text and results as undecoded parts.

use std::sync::Arc;

use provender_core::{BatchStream, Context, Error, Result, codes};
use provender_engine::parts::within;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::error::is_session_lost;
use crate::results::{self, Limits};
use crate::session::protocol::QueryData;
use crate::session::{Http, Session, Settings, Statement};
use crate::types::Columns;

/// All of a store's dealings with Snowflake. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct SnowflakeClient {
    settings: Arc<Settings>,
    http: Http,
    shared: Arc<Mutex<Option<Arc<Session>>>>,
    limits: Limits,
}

impl SnowflakeClient {
    /// A client that has not logged in yet.
    ///
    /// # Errors
    /// `P203` if connections cannot be set up.
    pub(crate) fn new(settings: Settings, limits: Limits) -> Result<Self> {
        let http = Http::new(settings.base.clone(), settings.proxy.clone())?;
        Ok(Self {
            settings: Arc::new(settings),
            http,
            shared: Arc::default(),
            limits,
        })
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Runs a statement that needs nothing of its session; one that has ended is replaced.
    ///
    /// # Errors
    /// As [`Session::run`], and `P905`, `P906`.
    pub(crate) async fn run(&self, cx: &Context, statement: Statement) -> Result<QueryData> {
        let session = self.shared().await?;
        match run_in(cx, &session, statement.clone()).await {
            // A statement of an ended session was refused before it ran.
            Err(error) if is_session_lost(&error) => {
                self.forget(&session).await;
                let session = self.shared().await?;
                run_in(cx, &session, statement).await
            }
            other => other,
        }
    }

    /// Runs a query and answers its rows in several streams, the first rows first.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) async fn query(&self, cx: &Context, sql: String) -> Result<Vec<BatchStream>> {
        let data = self.run(cx, Statement::new(sql)).await?;
        results::streams(cx, &self.http, data, self.limits)
    }

    /// Runs a query and answers its rows in one stream, in order.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) async fn query_in_order(&self, cx: &Context, sql: String) -> Result<BatchStream> {
        let data = self.run(cx, Statement::new(sql)).await?;
        one_stream(cx, &self.http, data, self.limits)
    }

    /// The columns that a query would answer; nothing runs.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) async fn describe(&self, cx: &Context, sql: String) -> Result<Columns> {
        let statement = Statement {
            is_describe: true,
            ..Statement::new(sql)
        };
        Ok(Columns::new(self.run(cx, statement).await?.rowtype))
    }

    /// Runs a query of few rows and answers them as text, null as `None`.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) async fn texts(
        &self,
        cx: &Context,
        sql: String,
    ) -> Result<Vec<Vec<Option<String>>>> {
        let data = self.run(cx, Statement::new(sql)).await?;
        texts(cx, &self.http, data).await
    }

    /// A session of its own, for temporary tables and transactions.
    ///
    /// # Errors
    /// `P203`.
    pub(crate) fn own_session(&self) -> Result<OwnSession> {
        Ok(OwnSession {
            session: Arc::new(Session::new(&self.settings, &self.http)?),
            http: self.http.clone(),
            limits: self.limits,
        })
    }

    async fn shared(&self) -> Result<Arc<Session>> {
        let mut shared = self.shared.lock().await;
        if let Some(session) = &*shared {
            return Ok(session.clone());
        }
        let session = Arc::new(Session::new(&self.settings, &self.http)?);
        *shared = Some(session.clone());
        Ok(session)
    }

    async fn forget(&self, session: &Arc<Session>) {
        let mut shared = self.shared.lock().await;
        if shared
            .as_ref()
            .is_some_and(|present| Arc::ptr_eq(present, session))
        {
            *shared = None;
        }
    }
}

/// A session that one piece of work has for itself. Dropping it ends the session in Snowflake, and
/// with it open transactions and temporary tables.
#[derive(Clone, Debug)]
pub(crate) struct OwnSession {
    session: Arc<Session>,
    http: Http,
    limits: Limits,
}

impl OwnSession {
    /// Runs a statement; how many rows it changed, if it says so.
    ///
    /// # Errors
    /// As [`Session::run`], and `P905`, `P906`. A session that has ended is not replaced.
    pub(crate) async fn execute(&self, cx: &Context, statement: Statement) -> Result<u64> {
        let data = run_in(cx, &self.session, statement).await?;
        Ok(n_changed(&data))
    }

    /// Runs a query and answers its rows in one stream, in order, which holds on to the session.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub(crate) async fn query(&self, cx: &Context, sql: String) -> Result<BatchStream> {
        let data = run_in(cx, &self.session, Statement::new(sql)).await?;
        one_stream(cx, &self.http, data, self.limits)
    }

    /// Ends the session now instead of in the background.
    pub(crate) async fn close(&self) {
        self.session.close().await;
    }
}

fn one_stream(cx: &Context, http: &Http, data: QueryData, limits: Limits) -> Result<BatchStream> {
    let limits = Limits {
        n_streams: 1,
        ..limits
    };
    let stream = results::streams(cx, http, data, limits)?.pop();
    stream.ok_or_else(|| Error::new(&codes::INTERNAL, "a result has no stream"))
}

/// Runs a statement for as long as its caller waits.
async fn run_in(cx: &Context, session: &Session, statement: Statement) -> Result<QueryData> {
    cx.check()?;
    match within(cx, session.run(statement)).await {
        Ok(outcome) => outcome,
        Err(ended) => {
            // The statement was dropped, which aborts it; a process that ends now must not be quicker.
            session.aborted().await;
            Err(ended)
        }
    }
}

/// The rows of a small result, each cell as text.
async fn texts(cx: &Context, http: &Http, data: QueryData) -> Result<Vec<Vec<Option<String>>>> {
    if let Some(rowset) = data.rowset {
        let text = |cell: Value| match cell {
            Value::Null => None,
            Value::String(text) => Some(text),
            other => Some(other.to_string()),
        };
        return Ok(rowset
            .into_iter()
            .map(|row| row.into_iter().map(text).collect())
            .collect());
    }
    let limits = Limits {
        memory_bytes: 1 << 20,
        n_downloads: 1,
        n_streams: 1,
    };
    let mut rows = Vec::new();
    for stream in results::streams(cx, http, data, limits)? {
        for batch in stream.collect().await? {
            let columns = batch
                .columns()
                .iter()
                .map(|column| arrow_cast::cast(column, &arrow_schema::DataType::Utf8))
                .collect::<std::result::Result<Vec<_>, _>>()
                .map_err(|error| crate::error::internal("a small result is not text", error))?;
            for row in 0..batch.num_rows() {
                use arrow_array::Array;
                use arrow_array::cast::AsArray;
                let cells = columns.iter().map(|column| {
                    let texts = column.as_string::<i32>();
                    texts.is_valid(row).then(|| texts.value(row).to_owned())
                });
                rows.push(cells.collect());
            }
        }
    }
    Ok(rows)
}

/// How many rows a statement says that it inserted, updated and deleted.
fn n_changed(data: &QueryData) -> u64 {
    let Some(row) = data.rowset.as_ref().and_then(|rows| rows.first()) else {
        return 0;
    };
    let count = |cell: &Value| match cell {
        Value::String(text) => text.parse().unwrap_or(0),
        Value::Number(number) => number.as_u64().unwrap_or(0),
        _ => 0,
    };
    row.iter().map(count).sum()
}
