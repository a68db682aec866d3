//! The seam: a middleware under the `snowflake-api` crate that takes over what the crate cannot do.
//!
//! The crate decides when a session is opened, what a login says (with the signed token of a key
//! pair), and numbers the statements. Everything that travels passes here. This module decides where
//! requests go, which credentials a login really carries, how tokens are kept and renewed, how long
//! a statement is waited for, and that one which nobody waits for any more is aborted. The crate is
//! told a made-up token and an empty result, so nothing that it logs is worth hiding; results go to
//! whoever runs the statement, undecoded.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::{Extensions, Method};
use provender_core::{Error, Result, Secret, codes};
use reqwest::{Request, Response};
use reqwest_middleware::{Middleware, Next};
use serde_json::{Value, json};
use uuid::Uuid;

use super::credentials::Credentials;
use super::http::{Ask, Http};
use super::protocol::{Envelope, LoginData, QueryData, RenewData, code};
use super::{Settings, Statement};
use crate::error::{login_error, statement_error};

tokio::task_local! {
    /// The statement that the crate is being asked to run on this task.
    pub(super) static CALL: Arc<Call>;
}

const LOGIN_PATH: &str = "/session/v1/login-request";
const QUERY_PATH: &str = "/queries/v1/query-request";
const RENEW_PATH: &str = "/session/token-request";
const ABORT_PATH: &str = "/queries/v1/abort-request";
const CLOSE_PATH: &str = "/session";
/// An abort is a courtesy to the warehouse; nobody waits long for it.
const ABORT_TIMEOUT: Duration = Duration::from_secs(5);
/// The least time between two questions about a statement that runs.
const FIRST_POLL: Duration = Duration::from_millis(50);
const LONGEST_POLL: Duration = Duration::from_secs(5);

/// One statement on its way through the crate.
pub(super) struct Call {
    statement: Statement,
    outcome: Mutex<Option<Result<QueryData>>>,
}

impl Call {
    pub(super) fn new(statement: Statement) -> Arc<Self> {
        Arc::new(Self {
            statement,
            outcome: Mutex::new(None),
        })
    }

    pub(super) fn take(&self) -> Option<Result<QueryData>> {
        self.outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    fn set(&self, outcome: Result<QueryData>) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }
}

/// What a session's requests carry. Never shown.
#[derive(Clone)]
struct Tokens {
    session: Secret,
    master: Secret,
}

/// The state of one session.
pub(super) struct Seam {
    pub(super) http: Http,
    settings: Arc<Settings>,
    tokens: Mutex<Option<Tokens>>,
    renewing: tokio::sync::Mutex<()>,
    aborts: Mutex<Vec<tokio::task::JoinHandle<()>>>,
}

/// The middleware itself; a type of its own because the trait is foreign, and so is `Arc`.
pub(super) struct SeamMiddleware(pub(super) Arc<Seam>);

#[async_trait]
impl Middleware for SeamMiddleware {
    async fn handle(
        &self,
        request: Request,
        _: &mut Extensions,
        _: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let path = request.url().path().trim_start_matches('/').to_owned();
        let body: Value = request
            .body()
            .and_then(|body| body.as_bytes())
            .and_then(|bytes| serde_json::from_slice(bytes).ok())
            .unwrap_or_default();
        let answer = match path.as_str() {
            path if path == LOGIN_PATH.trim_start_matches('/') => self.0.login(body).await,
            path if path == QUERY_PATH.trim_start_matches('/') => self.0.query(&body).await,
            _ => Err(Error::new(
                &codes::INTERNAL,
                format!("snowflake-api sends an unforeseen request to {path}"),
            )),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let told = reqwest_middleware::Error::middleware(Told(error.to_string()));
                let _ = CALL.try_with(|call| call.set(Err(error)));
                return Err(told);
            }
        };
        Ok(http::Response::new(answer.to_string()).into())
    }
}

/// What the crate is told of a failure; the failure itself goes to whoever runs the statement.
#[derive(Debug)]
struct Told(String);

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Told {}

impl Seam {
    pub(super) fn new(http: Http, settings: Arc<Settings>) -> Arc<Self> {
        Arc::new(Self {
            http,
            settings,
            tokens: Mutex::new(None),
            renewing: tokio::sync::Mutex::new(()),
            aborts: Mutex::new(Vec::new()),
        })
    }

    fn tokens(&self) -> Result<Tokens> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.clone().ok_or_else(|| {
            Error::new(
                &codes::INTERNAL,
                "a statement was sent before the session was opened",
            )
        })
    }

    /// Sends the crate's login with the real credentials and our own session parameters.
    async fn login(&self, mut body: Value) -> Result<Value> {
        let settings = &self.settings;
        let data = body
            .get_mut("data")
            .and_then(Value::as_object_mut)
            .ok_or_else(|| {
                Error::new(&codes::INTERNAL, "snowflake-api sends a login without data")
            })?;
        match &settings.credentials {
            Credentials::Password(password) => {
                data.insert("PASSWORD".to_owned(), password.reveal().into());
            }
            // The crate has signed a token with the key.
            Credentials::KeyPair(_) => {}
            Credentials::OAuth(token) => set_token(data, "OAUTH", token.reveal()),
            Credentials::OAuthFile(path) => {
                let token = tokio::fs::read_to_string(path).await.map_err(|error| {
                    Error::new(
                        &codes::WAREHOUSE_LOGIN,
                        format!(
                            "the OAuth token in {} cannot be read: {error}",
                            path.display()
                        ),
                    )
                })?;
                set_token(data, "OAUTH", token.trim());
            }
            Credentials::AccessToken(token) => {
                set_token(data, "PROGRAMMATIC_ACCESS_TOKEN", token.reveal());
            }
        }
        if settings.user.is_empty() {
            data.remove("LOGIN_NAME");
        }
        data.insert(
            "CLIENT_ENVIRONMENT".to_owned(),
            json!({
                "APPLICATION": "provender",
                "OS": std::env::consts::OS,
                "OS_VERSION": "",
                "OCSP_MODE": "FAIL_OPEN",
            }),
        );
        data.insert(
            "SESSION_PARAMETERS".to_owned(),
            Value::Object(settings.session_parameters.clone()),
        );
        let mut query = vec![("requestId", Uuid::new_v4().to_string())];
        for (name, value) in [
            ("warehouse", &settings.warehouse),
            ("databaseName", &Some(settings.database.clone())),
            ("schemaName", &Some(settings.schema.clone())),
            ("roleName", &settings.role),
        ] {
            if let Some(value) = value {
                query.push((name, value.clone()));
            }
        }
        let envelope = self
            .http
            .ask(Ask {
                method: Method::POST,
                path: LOGIN_PATH,
                query,
                token: None,
                body: Some(&body),
            })
            .await?;
        if !envelope.success {
            return Err(login_error(&self.settings, &envelope));
        }
        let login: LoginData = read(envelope.data)?;
        *self.tokens.lock().unwrap_or_else(PoisonError::into_inner) = Some(Tokens {
            session: Secret::new(login.token),
            master: Secret::new(login.master_token),
        });
        // The crate never renews what never runs out: that is done here, when Snowflake asks for it.
        Ok(json!({
            "code": null, "message": null, "success": true,
            "data": {
                "sessionId": 0, "token": "kept", "masterToken": "kept", "serverVersion": "",
                "parameters": [], "sessionInfo": {"roleName": ""},
                "masterValidityInSeconds": -1, "validityInSeconds": -1,
            },
        }))
    }

    /// Runs the statement of the present call, and tells the crate of an empty result.
    async fn query(self: &Arc<Self>, crate_body: &Value) -> Result<Value> {
        let call = CALL.try_with(Arc::clone).map_err(|_| {
            Error::new(
                &codes::INTERNAL,
                "snowflake-api sends a statement of its own",
            )
        })?;
        let sequence = crate_body.get("sequenceId").cloned().unwrap_or(json!(1));
        let outcome = self.run(&call.statement, sequence).await;
        call.set(outcome);
        Ok(json!({
            "code": null, "message": null, "success": true,
            "data": {
                "parameters": [], "rowtype": [], "total": 0, "returned": 0, "queryId": "",
                "finalRoleName": "", "statementTypeId": 0, "version": 1,
            },
        }))
    }

    async fn run(self: &Arc<Self>, statement: &Statement, sequence: Value) -> Result<QueryData> {
        let request_id = Uuid::new_v4().to_string();
        let mut body = json!({
            "sqlText": statement.sql,
            "asyncExec": false,
            "sequenceId": sequence,
            "isInternal": false,
            "describeOnly": statement.is_describe,
        });
        if !statement.bindings.is_empty() {
            let bindings =
                statement.bindings.iter().enumerate().map(|(at, text)| {
                    ((at + 1).to_string(), json!({"type": "TEXT", "value": text}))
                });
            body["bindings"] = Value::Object(bindings.collect());
        }
        let mut guard = AbortOnDrop {
            seam: Some(self.clone()),
            request_id: request_id.clone(),
            sql: statement.sql.clone(),
            is_armed: true,
        };
        let mut has_renewed = false;
        let mut poll: Option<String> = None;
        let mut wait = FIRST_POLL;
        let result = loop {
            let tokens = self.tokens()?;
            let ask = match &poll {
                None => Ask {
                    method: Method::POST,
                    path: QUERY_PATH,
                    query: vec![("requestId", request_id.clone())],
                    token: Some(tokens.session.reveal()),
                    body: Some(&body),
                },
                Some(path) => Ask {
                    method: Method::GET,
                    path,
                    query: Vec::new(),
                    token: Some(tokens.session.reveal()),
                    body: None,
                },
            };
            let envelope = self.http.ask(ask).await?;
            let code = envelope.code();
            if code::IN_PROGRESS.contains(&code.as_str()) {
                let path = envelope.data.get("getResultUrl").and_then(Value::as_str);
                let Some(path) = path.map(str::to_owned).or(poll.take()) else {
                    break Err(unreadable(
                        "a statement in progress has no address to ask at",
                    ));
                };
                if poll.replace(path).is_some() {
                    wait = (wait * 2).min(LONGEST_POLL);
                }
                tokio::time::sleep(wait).await;
                has_renewed = false;
                continue;
            }
            if code == code::TOKEN_EXPIRED && !has_renewed {
                has_renewed = true;
                self.renew(&tokens).await?;
                continue;
            }
            break match envelope.success {
                true => read(envelope.data),
                false => Err(statement_error(&self.settings, &envelope)),
            };
        };
        guard.is_armed = false;
        result
    }

    /// Exchanges the session's token for a new one, unless another statement has done so meanwhile.
    async fn renew(&self, old: &Tokens) -> Result<()> {
        let _turn = self.renewing.lock().await;
        if self.tokens()?.session != old.session {
            return Ok(());
        }
        let body = json!({"oldSessionToken": old.session.reveal(), "requestType": "RENEW"});
        let envelope = self
            .http
            .ask(Ask {
                method: Method::POST,
                path: RENEW_PATH,
                query: vec![("requestId", Uuid::new_v4().to_string())],
                token: Some(old.master.reveal()),
                body: Some(&body),
            })
            .await?;
        if !envelope.success {
            return Err(session_gone(&envelope));
        }
        let renewed: RenewData = read(envelope.data)?;
        *self.tokens.lock().unwrap_or_else(PoisonError::into_inner) = Some(Tokens {
            session: Secret::new(renewed.session_token),
            master: Secret::new(renewed.master_token),
        });
        tracing::debug!("the token of a Snowflake session was renewed");
        Ok(())
    }

    /// Ends the session at Snowflake, and with it everything temporary. Best effort.
    pub(super) async fn close(&self) {
        let tokens = self
            .tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(tokens) = tokens else { return };
        let closed = self.http.ask(Ask {
            method: Method::POST,
            path: CLOSE_PATH,
            query: vec![
                ("delete", "true".to_owned()),
                ("requestId", Uuid::new_v4().to_string()),
            ],
            token: Some(tokens.session.reveal()),
            body: Some(&Value::Null),
        });
        if !matches!(tokio::time::timeout(ABORT_TIMEOUT, closed).await, Ok(Ok(_))) {
            tracing::debug!("a Snowflake session could not be closed; it ends by itself");
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// Waits until the aborts of statements that were dropped have been sent.
    pub(super) async fn aborted(&self) {
        let aborts =
            std::mem::take(&mut *self.aborts.lock().unwrap_or_else(PoisonError::into_inner));
        for abort in aborts {
            // An abort that failed was logged where it failed.
            let _ = abort.await;
        }
    }

    async fn abort(&self, request_id: &str, sql: &str) {
        let Ok(tokens) = self.tokens() else { return };
        let body = json!({"sqlText": sql, "requestId": request_id});
        let sent = self.http.ask(Ask {
            method: Method::POST,
            path: ABORT_PATH,
            query: vec![("requestId", Uuid::new_v4().to_string())],
            token: Some(tokens.session.reveal()),
            body: Some(&body),
        });
        match tokio::time::timeout(ABORT_TIMEOUT, sent).await {
            Ok(Ok(envelope)) if envelope.success => {
                tracing::debug!("a statement that nobody waits for was aborted in Snowflake");
            }
            _ => tracing::warn!(
                "a statement that nobody waits for could not be aborted in Snowflake"
            ),
        }
    }
}

/// Aborts a statement whose future was dropped before its answer came.
struct AbortOnDrop {
    seam: Option<Arc<Seam>>,
    request_id: String,
    sql: String,
    is_armed: bool,
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        let (true, Some(seam)) = (self.is_armed, self.seam.take()) else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (request_id, sql) = (
            std::mem::take(&mut self.request_id),
            std::mem::take(&mut self.sql),
        );
        let abort = runtime.spawn({
            let seam = seam.clone();
            async move { seam.abort(&request_id, &sql).await }
        });
        let mut aborts = seam.aborts.lock().unwrap_or_else(PoisonError::into_inner);
        aborts.retain(|abort| !abort.is_finished());
        aborts.push(abort);
    }
}

fn set_token(data: &mut serde_json::Map<String, Value>, authenticator: &str, token: &str) {
    data.remove("PASSWORD");
    data.insert("AUTHENTICATOR".to_owned(), authenticator.into());
    data.insert("TOKEN".to_owned(), token.into());
}

/// A session that cannot be gone on with; whoever needs nothing of it opens another.
fn session_gone(envelope: &Envelope) -> Error {
    Error::new(
        &codes::WAREHOUSE_SESSION_LOST,
        "the Snowflake session has ended",
    )
    .help("try again: a new session is opened")
    .context("snowflake_code", envelope.code())
}

fn read<T: serde::de::DeserializeOwned>(data: Value) -> Result<T> {
    // The message of serde_json could quote a token.
    serde_json::from_value(data).map_err(|_| unreadable("its fields are not those that are known"))
}

fn unreadable(why: &str) -> Error {
    Error::new(
        &codes::OFFLINE_DATA,
        format!("an answer of Snowflake cannot be understood: {why}"),
    )
}
