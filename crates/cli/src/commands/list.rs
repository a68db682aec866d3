//! `provender list`

use provender_core::provider::ObjectKind;

use crate::args::{Kind, ListArgs, OutputFormat};
use crate::errors::{DONE, Outcome, say};
use crate::output::{self, Rows};
use crate::session::Session;

/// Lists what is applied.
///
/// # Errors
/// If the registry cannot be read.
pub(crate) async fn run(session: &Session, args: &ListArgs) -> Outcome {
    let store = session.store().await?;
    let mut objects = store.list(&session.cx).await?;
    let wanted = args.kind.map(kind);
    objects.retain(|object| wanted.is_none_or(|wanted| object.kind == wanted));
    if objects.is_empty() && matches!(session.output, None | Some(OutputFormat::Table)) {
        say("nothing of the kind is applied; `provender apply` applies what is in features/");
        return Ok(DONE);
    }
    let all = || objects.iter();
    let rows = Rows::default()
        .text("kind", all().map(|object| object.kind.name()))
        .text("name", all().map(|object| &object.name))
        .versions("version", all().map(|object| object.version))
        .text("summary", all().map(|object| &object.summary))
        .text("owner", all().map(|object| &object.owner))
        .text("description", all().map(|object| &object.description));
    output::write_rows(session.output, &rows.batch()?)?;
    Ok(DONE)
}

fn kind(kind: Kind) -> ObjectKind {
    match kind {
        Kind::Entities => ObjectKind::Entity,
        Kind::Sources => ObjectKind::Source,
        Kind::FeatureViews => ObjectKind::FeatureView,
        Kind::OnDemandFeatureViews => ObjectKind::OnDemandFeatureView,
        Kind::FeatureServices => ObjectKind::FeatureService,
    }
}
