//! From a feature store to a server that listens: addresses, TLS, health, metrics, and how it stops.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use provender_core::{Context, Error, Result, codes};
use provender_store::FeatureStore;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic::service::Routes;

use crate::auth::Guard;
use crate::edge::Edge;
use crate::metrics::Metrics;
use crate::options::Limits;
use crate::reflection;
use crate::service::Service;
use crate::state::State;
use crate::tls;
use crate::transport::Transport;

/// Streams of a connection beyond the limit of calls, so that the limit answers and not the transport,
/// which would keep calls waiting.
const SPARE_STREAMS: usize = 256;
/// How long calls that are ended may take to say so.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often spines that nobody used are looked for.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// How often what is materialised is looked up for the metrics.
const FRESHNESS_EVERY: Duration = Duration::from_secs(15);

/// A server that listens and does not answer yet.
#[derive(Debug)]
pub struct Server {
    state: Arc<State>,
    listener: TcpListener,
    metrics_listener: Option<TcpListener>,
    tls: Option<Arc<ServerConfig>>,
}

impl Server {
    /// Listens on the addresses of the store's configuration.
    ///
    /// # Errors
    /// `InvalidArgument` (`P203`, `P202`) for certificates and tokens that cannot be read, and for an
    /// address beyond this machine without tokens; `Unavailable` (`P707`) if something else listens there.
    pub async fn bind(
        store: FeatureStore,
        limits: Limits,
        variables: &(dyn Fn(&str) -> Option<String> + Sync),
    ) -> Result<Self> {
        let config = store.config().clone();
        let guard = Guard::read(config.server.tokens.as_ref(), &config.base_path, variables)?;
        let tls = tls::server_config(config.server.tls.as_ref(), &config.base_path)?;
        let listener = listen("server.flight", &config.server.flight).await?;
        let address = local(&listener)?;
        let allowed = config.server.allow_unauthenticated.unwrap_or(false);
        if !guard.is_closed() && !allowed && !address.ip().is_loopback() {
            return Err(Error::new(
                &codes::BAD_CONFIG,
                format!("server.flight is {address}, which others can reach, and server.tokens is not set"),
            )
            .help(
                "set server.tokens, listen on 127.0.0.1, or say `allow_unauthenticated: true` under server",
            ));
        }
        let metrics_listener = match &config.server.metrics {
            None => None,
            Some(address) => Some(listen("server.metrics", address).await?),
        };
        Ok(Self {
            state: Arc::new(State::new(store, limits, guard)?),
            listener,
            metrics_listener,
            tls,
        })
    }

    /// Where Arrow Flight is served.
    ///
    /// # Errors
    /// `Unavailable` (`P903`) if the system does not say.
    pub fn address(&self) -> Result<SocketAddr> {
        local(&self.listener)
    }

    /// Where metrics are served, if they are.
    ///
    /// # Errors
    /// `Unavailable` (`P903`) if the system does not say.
    pub fn metrics_address(&self) -> Result<Option<SocketAddr>> {
        self.metrics_listener.as_ref().map(local).transpose()
    }

    /// Answers calls until `stop` resolves; then takes no more, lets calls at work end for a while, and
    /// returns.
    ///
    /// # Errors
    /// `Internal` (`P999`) if the protocol cannot be described. A connection that fails ends alone.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let Self {
            state,
            listener,
            metrics_listener,
            tls,
        } = self;
        let side = side_work(&state, metrics_listener);
        let (health_reporter, health) = tonic_health::server::health_reporter();
        health_reporter
            .set_serving::<FlightServiceServer<Service>>()
            .await;
        let limits = state.limits.clone();
        let flight = FlightServiceServer::new(Service::new(state.clone()))
            .max_decoding_message_size(limits.max_received_bytes)
            .max_encoding_message_size(limits.wire.max_sent_bytes);
        let flight = Edge::new(flight, state.clone());
        let max_streams = limits.max_calls.saturating_add(SPARE_STREAMS);
        let reflection = tonic_reflection::server::Builder::configure()
            .register_file_descriptor_set(reflection::files())
            .build_v1()
            .map_err(|error| {
                Error::new(&codes::INTERNAL, "the protocol cannot be described").source(error)
            })?;
        let routes = Routes::new(health)
            .add_service(reflection)
            .add_service(flight);
        let max_streams = u32::try_from(max_streams).unwrap_or(u32::MAX);
        let transport = Transport::new(routes, tls.map(TlsAcceptor::from), max_streams);
        let serving = transport.serve(listener, &state.stop);
        futures::pin_mut!(serving);
        tokio::select! {
            () = &mut serving => {}
            () = stop => {
                health_reporter.set_not_serving::<FlightServiceServer<Service>>().await;
                state.stop.begin();
                tracing::info!("stopping: no new calls, those at work may end");
                match tokio::time::timeout(limits.grace, &mut serving).await {
                    Ok(()) => {}
                    Err(_) => {
                        tracing::warn!("calls were still at work when the time to stop was over");
                        state.stop.end();
                        // Each is told, which takes no time but that of sending.
                        let _ = tokio::time::timeout(LAST_WORDS, &mut serving).await;
                    }
                }
            }
        };
        state.stop.end();
        side.abort_all();
        Ok(())
    }
}

/// Tasks beside the calls, which end with the server.
struct SideWork(Vec<tokio::task::JoinHandle<()>>);

impl SideWork {
    fn abort_all(self) {
        for task in self.0 {
            task.abort();
        }
    }
}

fn side_work(state: &Arc<State>, metrics_listener: Option<TcpListener>) -> SideWork {
    let mut tasks = Vec::new();
    let refreshing = state.clone();
    tasks.push(tokio::spawn(async move {
        let cx = Context::new(refreshing.store.project());
        let every = refreshing.limits.refresh;
        refreshing
            .prepared
            .keep_fresh(&refreshing.store, &cx, every)
            .await;
    }));
    let forgetting = state.clone();
    tasks.push(tokio::spawn(async move {
        let mut ticks = tokio::time::interval(FORGET_EVERY);
        loop {
            ticks.tick().await;
            forgetting.spines.forget_old();
        }
    }));
    if let Some(listener) = metrics_listener {
        let observing = state.clone();
        tasks.push(tokio::spawn(
            async move { observe_freshness(&observing).await },
        ));
        let metrics = state.metrics.clone();
        let stopped = state.stop.over();
        tasks.push(tokio::spawn(async move {
            let router = metrics_router(metrics);
            let served = axum::serve(listener, router).with_graceful_shutdown(stopped);
            if let Err(error) = served.await {
                tracing::warn!(%error, "metrics are no longer served");
            }
        }));
    }
    SideWork(tasks)
}

fn metrics_router(metrics: Arc<Metrics>) -> Router {
    Router::new().route(
        "/metrics",
        get(move || async move {
            match metrics.text() {
                Ok(text) => (
                    StatusCode::OK,
                    [(
                        header::CONTENT_TYPE,
                        "application/openmetrics-text; version=1.0.0; charset=utf-8",
                    )],
                    text,
                ),
                Err(error) => (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
                    error.to_string(),
                ),
            }
        }),
    )
}

async fn observe_freshness(state: &State) {
    let cx = Context::new(state.store.project());
    let mut ticks = tokio::time::interval(FRESHNESS_EVERY);
    loop {
        ticks.tick().await;
        match state.store.status(&cx).await {
            Ok(views) => {
                let ends = views.into_iter().filter_map(|status| {
                    let end_us = status.last_interval?.end_us;
                    Some((status.view.view, status.view.version, end_us))
                });
                state.metrics.set_ends(ends.collect());
            }
            Err(error) => tracing::warn!(%error, "the age of online data is not known"),
        }
    }
}

async fn listen(option: &str, address: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        Error::new(
            &codes::SERVER_ADDRESS,
            format!("{option}: {address} cannot be listened on"),
        )
        .help("stop what listens there, or choose another port; port 0 takes any that is free")
        .source(error)
    })
}

fn local(listener: &TcpListener) -> Result<SocketAddr> {
    listener.local_addr().map_err(|error| {
        Error::new(&codes::IO, "the address of a listener is not known").source(error)
    })
}
