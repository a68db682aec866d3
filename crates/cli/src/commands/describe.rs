//! `provender describe`

use provender_store::{DescribedFeature, DescribedSource, Description};

use crate::args::{DescribeArgs, OutputFormat};
use crate::errors::{DONE, Outcome};
use crate::output::{self, Rows};
use crate::session::Session;

/// Shows one applied definition; as rows (CSV, Arrow, Parquet) its features.
///
/// # Errors
/// `P401` for a name or version that is not applied.
pub(crate) async fn run(session: &Session, args: &DescribeArgs) -> Outcome {
    let store = session.store().await?;
    let description = store.describe(&session.cx, &args.name, None).await?;
    match session.output {
        None | Some(OutputFormat::Table) => output::text(&text(&description)?)?,
        Some(OutputFormat::Json) => output::json(&description)?,
        Some(_) => output::write_rows(session.output, &features(&description)?)?,
    }
    Ok(DONE)
}

fn features(description: &Description) -> Outcome<arrow_array::RecordBatch> {
    let all = || description.features.iter();
    let value_type =
        |feature: &DescribedFeature| feature.value_type.as_ref().map(ToString::to_string);
    Rows::default()
        .text("name", all().map(|feature| &feature.name))
        .text_or_null("type", all().map(value_type))
        .text("from", all().map(|feature| &feature.from))
        .text("description", all().map(|feature| &feature.description))
        .batch()
}

fn text(description: &Description) -> Outcome<String> {
    let version = description
        .version
        .map(|version| format!("@{version}"))
        .unwrap_or_default();
    let mut lines = Lines(format!(
        "{} {}{version}\n",
        description.kind.name(),
        description.name
    ));
    let documentation = &description.documentation;
    lines.entry("description", &documentation.description);
    lines.entry("owner", &documentation.owner);
    let tags = documentation.tags.iter();
    lines.list("tags", tags.map(|(key, value)| format!("{key}={value}")));
    lines.list("versions", description.versions.iter().map(u32::to_string));
    lines.list("entities", description.entities.iter().cloned());
    let keys = description.keys.iter();
    lines.list(
        "join keys",
        keys.map(|key| format!("{} ({})", key.name, key.value_type)),
    );
    let request = description.request.iter();
    lines.list(
        "request",
        request.map(|field| format!("{} ({})", field.name, field.value_type)),
    );
    if let Some(source) = &description.source {
        show_source(&mut lines, source);
    }
    lines.entry("ttl", description.ttl.as_deref().unwrap_or_default());
    if let Some(online) = description.online {
        lines.entry("online", if online { "yes" } else { "no" });
    }
    lines.list("uses", description.uses.iter().cloned());
    lines.list("used by", description.used_by.iter().cloned());
    let mut text = lines.0;
    if !description.features.is_empty() {
        text.push_str("\nfeatures\n");
        for line in output::table(&features(description)?)?.lines() {
            text.push_str(&format!("  {line}\n"));
        }
    }
    Ok(text)
}

fn show_source(lines: &mut Lines, source: &DescribedSource) {
    lines.entry("source", &source.name);
    lines.entry("store", source.store.as_deref().unwrap_or_default());
    lines.entry("table", source.table.as_deref().unwrap_or_default());
    lines.entry("query", source.query.as_deref().unwrap_or_default());
    lines.entry("filter", source.filter.as_deref().unwrap_or_default());
    lines.entry("timestamp", &source.timestamp);
    lines.entry(
        "created timestamp",
        source.created_timestamp.as_deref().unwrap_or_default(),
    );
    lines.list("tie breakers", source.tie_breakers.iter().cloned());
}

/// Names and values below each other; what is empty is left out.
struct Lines(String);

impl Lines {
    fn entry(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.0.push_str(&format!("  {name:<18} {value}\n"));
        }
    }

    fn list(&mut self, name: &str, values: impl Iterator<Item = String>) {
        self.entry(name, &values.collect::<Vec<_>>().join(", "));
    }
}
