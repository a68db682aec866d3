//! `provender push`

use std::time::Instant;

use provender_core::request::WriteSummary;
use provender_store::{Push, PushSummary, PushTarget};
use serde::Serialize;

use crate::args::{OutputFormat, PushArgs, Stores};
use crate::errors::{DONE, Outcome, say};
use crate::input::InputFile;
use crate::output;
use crate::progress::{Progress, count, plural};
use crate::session::Session;

/// What `--output json` shows.
#[derive(Serialize)]
struct Pushed<'a> {
    view: &'a str,
    version: u32,
    n_rows: u64,
    offline: Option<&'a WriteSummary>,
    online: Option<&'a WriteSummary>,
}

/// Writes rows of a view.
///
/// # Errors
/// `P401` for a view that is not applied, `P402` to `P407` for rows that do not fit it, and for views
/// that take no pushes there.
pub(crate) async fn run(session: &Session, args: PushArgs) -> Outcome {
    let file = InputFile::new(&args.file, args.format, None)?;
    let name = file.name();
    let store = session.store().await?;
    let expected = store.push_schema(&session.cx, &args.view).await?;
    let started = Instant::now();
    let input = file.expecting(&expected).open(&session.cx).await?;
    let progress = Progress::rows(&format!("pushing {name}"), input.n_rows);
    let push = Push {
        view: args.view,
        to: target(args.to),
        id: args.id,
    };
    let rows = progress.watch(input.stream);
    let summary = store.push(&session.cx, &push, rows).await?;
    drop(progress);
    if session.output == Some(OutputFormat::Json) {
        output::json(&Pushed {
            view: &summary.view.view,
            version: summary.view.version,
            n_rows: summary.n_rows,
            offline: summary.offline.as_ref(),
            online: summary.online.as_ref(),
        })?;
    }
    say(&sentence(&summary, &push, started.elapsed().as_secs_f64()));
    Ok(DONE)
}

/// What the store calls the choice.
pub(super) fn target(stores: Stores) -> PushTarget {
    match stores {
        Stores::Online => PushTarget::Online,
        Stores::Offline => PushTarget::Offline,
        Stores::Both => PushTarget::Both,
    }
}

fn sentence(summary: &PushSummary, push: &Push, seconds: f64) -> String {
    let mut places = Vec::new();
    if let Some(offline) = &summary.offline {
        places.push(match offline.n_applied {
            0 if summary.n_rows > 0 && push.id.is_some() => {
                "offline already there from a push of this id".to_owned()
            }
            n_rows => format!("offline {}", count(n_rows)),
        });
    }
    if let Some(online) = &summary.online {
        let n_older = summary.n_rows.saturating_sub(online.n_applied);
        places.push(match n_older {
            0 => format!("online {}", count(online.n_applied)),
            _ => format!(
                "online {}, of {} newer ones are held",
                count(online.n_applied),
                count(n_older)
            ),
        });
    }
    if places.is_empty() {
        places.push("nothing to write".to_owned());
    }
    format!(
        "pushed {} to {}: {} ({seconds:.1} s)",
        plural(summary.n_rows, "row"),
        super::materialize::name(&summary.view),
        places.join(", ")
    )
}
