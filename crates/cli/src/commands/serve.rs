//! `provender serve`

use provender_core::Error;
use provender_server::{Limits, Server};

use crate::args::ServeArgs;
use crate::errors::{DONE, Outcome, say};
use crate::output;
use crate::session::Session;

/// Serves the project until a signal comes, then lets calls at work end.
///
/// # Errors
/// What opening the stores and listening say.
pub(crate) async fn run(session: &Session, args: ServeArgs) -> Outcome {
    let mut store_config = session.project.config.clone();
    if let Some(address) = args.flight {
        store_config.server.flight = address;
    }
    if args.metrics.is_some() {
        store_config.server.metrics = args.metrics;
    }
    let limits = Limits::of(&store_config.server, &store_config.limits);
    let scheme = if store_config.server.tls.is_some() {
        "grpc+tls"
    } else {
        "grpc"
    };
    let store = session.project.open_as(&session.cx, store_config).await?;
    let variables = |name: &str| std::env::var(name).ok();
    let server = Server::bind(store, limits, &variables).await?;
    let address = server.address()?;
    // For whoever started this: the port is known only now if it was 0.
    output::text(&format!("{scheme}://{address}\n"))?;
    say(&format!(
        "serving project {} on {scheme}://{address}",
        session.project.config.project
    ));
    if let Some(metrics) = server.metrics_address()? {
        say(&format!("metrics on http://{metrics}/metrics"));
    }
    server
        .serve(session.cx.cancelled())
        .await
        .map_err(Error::into)
        .map(|()| DONE)
}
