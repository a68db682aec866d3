//! A manifest for people.

use arrow_array::RecordBatch;
use provender_store::{ColumnRole, Dataset, DatasetColumn, SplitRule, UsedSource, version_text};

use crate::errors::Outcome;
use crate::output::{self, Rows};
use crate::progress::{count, plural};

/// The columns with their statistics.
///
/// # Errors
/// None that can be expected.
pub(super) fn columns(dataset: &Dataset) -> Outcome<RecordBatch> {
    let all = || dataset.columns.iter();
    let value = |value: &Option<serde_json::Value>| {
        value.as_ref().map(|value| match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    };
    // Six digits tell what people look for; the JSON has all of them.
    let short = |number: Option<f64>| number.map(short);
    Rows::default()
        .text("column", all().map(|column| &column.name))
        .text("type", all().map(|column| &column.data_type))
        .text("from", all().map(from))
        .numbers("count", all().map(|column| column.statistics.count))
        .numbers("nulls", all().map(|column| column.statistics.nulls))
        .numbers("distinct", all().map(|column| column.statistics.distinct))
        .text_or_null("min", all().map(|column| value(&column.statistics.min)))
        .text_or_null("max", all().map(|column| value(&column.statistics.max)))
        .text_or_null("mean", all().map(|column| short(column.statistics.mean)))
        .text_or_null(
            "stddev",
            all().map(|column| short(column.statistics.stddev)),
        )
        .batch()
}

fn from(column: &DatasetColumn) -> String {
    match (&column.from, column.role) {
        (Some(from), _) => from.clone(),
        (None, ColumnRole::Split) => "the split".to_owned(),
        (None, _) => "the spine".to_owned(),
    }
}

fn short(number: f64) -> String {
    let text = format!("{number:.5e}");
    match text.parse::<f64>() {
        Ok(rounded) => rounded.to_string(),
        Err(_) => text,
    }
}

/// All of it.
///
/// # Errors
/// None that can be expected.
pub(super) fn text(dataset: &Dataset) -> Outcome<String> {
    let mut text = format!("dataset {}\n", dataset.full_name());
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("  {name:<18} {value}\n"));
        }
    };
    let request = &dataset.request;
    line(
        "created",
        &format!("{} by {}", dataset.created_at, dataset.created_by),
    );
    line("command", &dataset.command);
    line("program", &dataset.program);
    line("service", request.service.as_deref().unwrap_or_default());
    line("timestamp", &request.timestamp);
    line("as known", if request.as_known { "yes" } else { "no" });
    let used = dataset.definitions.used.iter();
    let used: Vec<String> = used
        .map(|used| format!("{}@{}", used.name, used.version))
        .collect();
    line(
        "definitions",
        &format!(
            "{} (revision {})",
            used.join(", "),
            dataset.definitions.revision.0
        ),
    );
    for source in &dataset.sources {
        line("source", &source_text(source));
    }
    line(
        "spine",
        &format!(
            "{} in table {}",
            plural(dataset.spine.n_rows, "row"),
            dataset.spine.table.table
        ),
    );
    line("spine hash", &dataset.spine.hash);
    if let Some(split) = &dataset.split {
        let detail = match &split.rule {
            SplitRule::Random { seed, .. } => format!(", seed {seed}"),
            SplitRule::Entity { seed, columns, .. } => {
                format!(" of {}, seed {seed}", columns.join(", "))
            }
            _ => String::new(),
        };
        line(
            "split",
            &format!(
                "{}{detail} into {} (column {})",
                split.rule_text(),
                split.parts.join(", "),
                split.column
            ),
        );
    }
    line("store", dataset.table.store.as_deref().unwrap_or_default());
    let version = dataset.table.version.as_ref().map(version_text);
    let version = version.map_or_else(String::new, |text| format!(", {text}"));
    line("table", &format!("{}{version}", dataset.table.table));
    line("rows", &count(dataset.n_rows));
    line("hash", &dataset.hash);
    text.push_str("\ncolumns\n");
    for row in output::table(&columns(dataset)?)?.lines() {
        text.push_str(&format!("  {row}\n"));
    }
    Ok(text)
}

fn source_text(used: &UsedSource) -> String {
    let state = match &used.version {
        Some(version) => version_text(version),
        None => "NOT PINNED".to_owned(),
    };
    let mut text = format!("{} ({}), {state}", used.source, used.relation_text());
    if let Some(reason) = &used.not_pinned {
        text.push_str(&format!(": {reason}"));
    }
    text
}
