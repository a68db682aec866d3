//! `provender delete`

use std::time::Instant;

use provender_core::{BatchStream, Error, codes};
use provender_store::{Delete, DeleteSummary};
use serde::Serialize;

use super::online::Given;
use crate::args::{DeleteArgs, OutputFormat, Stores};
use crate::confirm::confirmed;
use crate::errors::{DONE, Outcome, say, usage};
use crate::input::typed;
use crate::output;
use crate::progress::plural;
use crate::session::Session;

/// What `--output json` shows.
#[derive(Serialize)]
struct Deleted<'a> {
    n_keys: u64,
    online: Vec<String>,
    offline: Option<&'a str>,
    notes: &'a [String],
}

/// Erases keys of a view.
///
/// # Errors
/// `P401` for a view that is not applied, `P307` if nobody confirmed, `P402` to `P407` for keys that do
/// not fit it.
pub(crate) async fn run(session: &Session, args: DeleteArgs) -> Outcome {
    let given = Given::parse(&args.entities)?;
    if matches!(&given, Given::Typed(rows) if rows.is_empty()) {
        return Err(usage(
            "no entity is named, so there is nothing to erase",
            "pass --entities FILE, or --entity KEY=VALUE",
        ));
    }
    let store = session.store().await?;
    let declared = store.delete_schema(&session.cx, &args.view).await?;
    let (keys, whose) = match given {
        Given::Typed(rows) => {
            let batch = typed(&declared, &rows)?;
            let whose = plural(rows.len() as u64, "key");
            (
                BatchStream::from_batches(batch.schema(), vec![batch]),
                whose,
            )
        }
        Given::File(file) => {
            let file = file.expecting(&declared);
            let whose = format!("the keys in {}", file.name());
            (file.open(&session.cx).await?.stream, whose)
        }
    };
    if !args.yes {
        confirm(&args, &whose).await?;
    }
    let started = Instant::now();
    let delete = Delete {
        view: args.view,
        from: super::push::target(args.from),
    };
    let summary = store.delete(&session.cx, &delete, keys).await?;
    if session.output == Some(OutputFormat::Json) {
        output::json(&Deleted {
            n_keys: summary.n_keys,
            online: summary
                .online
                .iter()
                .map(super::materialize::name)
                .collect(),
            offline: summary.offline.as_deref(),
            notes: &summary.notes,
        })?;
    }
    say(&format!(
        "erased {} of {}: {} ({:.1} s)",
        plural(summary.n_keys, "key"),
        delete.view,
        places(&summary),
        started.elapsed().as_secs_f64()
    ));
    for note in &summary.notes {
        say(&format!("  note: {note}"));
    }
    Ok(DONE)
}

async fn confirm(args: &DeleteArgs, whose: &str) -> Outcome<()> {
    let place = match args.from {
        Stores::Online => "online",
        Stores::Offline => "offline",
        Stores::Both => "online and offline",
    };
    let what = format!("all rows of {whose} from {}, {place}", args.view);
    if confirmed(&format!("Erase {what}? It cannot be undone.")).await {
        return Ok(());
    }
    Err(Error::new(
        &codes::DELETES_REFUSED,
        format!("{what}, would be erased, and nobody confirmed it; nothing was erased"),
    )
    .help("confirm when asked, or pass --yes")
    .into())
}

fn places(summary: &DeleteSummary) -> String {
    let mut places = Vec::new();
    if !summary.online.is_empty() {
        let views: Vec<String> = summary
            .online
            .iter()
            .map(super::materialize::name)
            .collect();
        places.push(format!("online from {}", views.join(", ")));
    }
    if let Some(table) = &summary.offline {
        places.push(format!("offline from table {table}"));
    }
    if places.is_empty() {
        return "nowhere".to_owned();
    }
    places.join("; ")
}
