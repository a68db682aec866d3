//! `provender verify`

use provender_core::time::{format_instant, now_us};
use provender_store::{Difference, VerifiedView, Verify};
use serde::Serialize;

use crate::args::{OutputFormat, VerifyArgs};
use crate::errors::{DONE, FAILED, Outcome, say};
use crate::output::{self, Rows};
use crate::progress::plural;
use crate::session::Session;

/// What `--output json` shows of a view.
#[derive(Serialize)]
struct Verified<'a> {
    view: &'a str,
    version: u32,
    end: Option<String>,
    n_keys: u64,
    n_agree: u64,
    n_newer: u64,
    n_expired: u64,
    n_differ: u64,
    share: f64,
    differences: &'a [Difference],
    note: Option<&'a str>,
}

/// Compares the online store with the offline store; the exit code tells whether all agrees.
///
/// # Errors
/// `P401` for a view that is not applied, and what the stores say.
pub(crate) async fn run(session: &Session, args: VerifyArgs) -> Outcome {
    let store = session.store().await?;
    // Other keys each time, so that runs together see more of them.
    let seed = args.seed.unwrap_or_else(|| now_us().unsigned_abs());
    let request = Verify {
        views: args.views.named(),
        sample: (!args.full).then_some(args.sample),
        seed,
        max_shown: args.limit,
    };
    let views = store.verify(&session.cx, &request).await?;
    match session.output {
        None | Some(OutputFormat::Table) => show(&views)?,
        Some(OutputFormat::Json) => {
            output::json(&views.iter().map(verified).collect::<Vec<_>>())?;
        }
        Some(_) => output::write_rows(session.output, &rows(&views)?)?,
    }
    let n_differ: u64 = views.iter().map(|view| view.n_differ).sum();
    if n_differ == 0 {
        return Ok(DONE);
    }
    let repeat = if args.full {
        String::new()
    } else {
        format!("; --seed {seed} compares the same keys again")
    };
    say(&format!(
        "{} online {} from the offline store{repeat}",
        plural(n_differ, "key"),
        if n_differ == 1 { "differs" } else { "differ" }
    ));
    Ok(FAILED)
}

fn show(views: &[VerifiedView]) -> Outcome<()> {
    if views.is_empty() {
        say("nothing is materialised, so there is nothing to compare");
        return Ok(());
    }
    let mut text = output::table(&for_people(views)?)?;
    let differences: Vec<(&VerifiedView, &Difference)> = views
        .iter()
        .flat_map(|view| view.first.iter().map(move |difference| (view, difference)))
        .collect();
    if !differences.is_empty() {
        let all = || differences.iter();
        let rows = Rows::default()
            .text(
                "view",
                all().map(|(view, _)| super::materialize::name(&view.view)),
            )
            .text("key", all().map(|(_, difference)| &difference.key))
            .text("feature", all().map(|(_, difference)| &difference.feature))
            .text("online", all().map(|(_, difference)| &difference.online))
            .text("offline", all().map(|(_, difference)| &difference.offline));
        text.push_str(&format!("\n{}", output::table(&rows.batch()?)?));
    }
    output::text(&text)
}

fn for_people(views: &[VerifiedView]) -> Outcome<arrow_array::RecordBatch> {
    let all = || views.iter();
    let rows = Rows::default()
        .text(
            "view",
            all().map(|view| super::materialize::name(&view.view)),
        )
        .text_or_null("as of", all().map(|view| view.end_us.map(format_instant)))
        .text("agree", all().map(agreement))
        .numbers("differ", all().map(|view| view.n_differ))
        .numbers("newer", all().map(|view| view.n_newer))
        .numbers("expired", all().map(|view| view.n_expired));
    if all().all(|view| view.note.is_none()) {
        return rows.batch();
    }
    rows.text_or_null("note", all().map(|view| view.note.as_ref()))
        .batch()
}

/// `99.90% of 1,000 keys`, of those that agree or differ. Rounded down, so that 100% means all of them. Where
/// none could be compared, why: `none of 3 keys: all expired`.
fn agreement(view: &VerifiedView) -> String {
    let n_compared = view.n_agree + view.n_differ;
    if n_compared == 0 {
        let why = match (view.n_keys, view.n_expired, view.n_newer) {
            (0, ..) if view.end_us.is_none() => return "nothing compared".to_owned(),
            (0, ..) => return "no keys to compare".to_owned(),
            (_, _, 0) => "expired",
            (_, 0, _) => "newer",
            _ => "expired or newer",
        };
        return format!("none of {}: all {why}", plural(view.n_keys, "key"));
    }
    let percent = (view.share() * 10_000.0).floor() / 100.0;
    format!("{percent:.2}% of {}", plural(n_compared, "key"))
}

fn rows(views: &[VerifiedView]) -> Outcome<arrow_array::RecordBatch> {
    let all = || views.iter();
    Rows::default()
        .text("view", all().map(|view| &view.view.view))
        .versions("version", all().map(|view| Some(view.view.version)))
        .text_or_null("end", all().map(|view| view.end_us.map(format_instant)))
        .numbers("n_keys", all().map(|view| view.n_keys))
        .numbers("n_agree", all().map(|view| view.n_agree))
        .numbers("n_newer", all().map(|view| view.n_newer))
        .numbers("n_expired", all().map(|view| view.n_expired))
        .numbers("n_differ", all().map(|view| view.n_differ))
        .fractions("share", all().map(VerifiedView::share))
        .text_or_null("note", all().map(|view| view.note.as_ref()))
        .batch()
}

fn verified(view: &VerifiedView) -> Verified<'_> {
    Verified {
        view: &view.view.view,
        version: view.view.version,
        end: view.end_us.map(format_instant),
        n_keys: view.n_keys,
        n_agree: view.n_agree,
        n_newer: view.n_newer,
        n_expired: view.n_expired,
        n_differ: view.n_differ,
        share: view.share(),
        differences: &view.first,
        note: view.note.as_deref(),
    }
}
