//! How a training set would be built, for people.

use std::fmt::Write;

use arrow_schema::Schema;
use provender_core::model::Relation;
use provender_core::request::{ColumnRange, KeyColumn, OfflineRequest, Scan, SqlSpine, ViewJoin};
use provender_core::time::format_duration;
use provender_core::{Context, ErrorKind, Result};

use crate::FeatureStore;
use crate::request::HistoricalRequest;
use crate::stores::Role;
use crate::training::{Group, Meaning, Naming, Training};

impl FeatureStore {
    /// How [`Self::historical`] would answer: per store who joins, per view its source, keys, ttl and
    /// columns, and what the store says about its part. Reads no rows.
    ///
    /// # Errors
    /// As [`Self::historical`].
    pub async fn explain_historical(
        &self,
        cx: &Context,
        request: &HistoricalRequest,
        spine: &Schema,
    ) -> Result<String> {
        let catalog = self.applied_catalog(cx).await?;
        let meaning = Meaning::of(&catalog, request, spine)?;
        let training =
            Training::prepare(self, cx, meaning, request.as_known, &Naming::Rows).await?;
        self.explain_training(cx, request, &training, spine, None)
            .await
    }

    /// How [`Self::historical_sql`] would answer, told as [`Self::explain_historical`] does.
    ///
    /// # Errors
    /// As [`Self::historical_sql`].
    pub async fn explain_historical_sql(
        &self,
        cx: &Context,
        request: &HistoricalRequest,
        spine: SqlSpine,
    ) -> Result<String> {
        let planned = self.planned_sql(cx, request, spine).await?;
        if let Some((training, spine)) = &planned.pushed_down {
            let (request, schema) = (&planned.request, &planned.schema);
            return self
                .explain_training(cx, request, training, schema, Some(spine))
                .await;
        }
        self.explain_historical(cx, &planned.request, &planned.schema)
            .await
    }

    async fn explain_training(
        &self,
        cx: &Context,
        request: &HistoricalRequest,
        training: &Training,
        spine: &Schema,
        sql: Option<&SqlSpine>,
    ) -> Result<String> {
        let meaning = &training.meaning;
        let mut lines = Lines::default();
        lines.line(
            0,
            format_args!(
                "spine: {} columns, timestamp {:?}",
                spine.fields().len(),
                spine.field(meaning.spine.timestamp).name()
            ),
        );
        if request.as_known {
            lines.line(
                0,
                format_args!("as known: rows created after the spine's time do not count"),
            );
        }
        for group in &training.groups {
            self.explain_group(cx, group, training, sql, &mut lines)
                .await?;
        }
        if !meaning.resolved.steps.is_empty() {
            let names: Vec<&str> = meaning
                .resolved
                .steps
                .iter()
                .map(|step| step.name.as_str())
                .collect();
            lines.line(
                0,
                format_args!("computed on demand, in this order: {}", names.join(", ")),
            );
        }
        let outputs: Vec<String> = meaning
            .resolved
            .outputs
            .iter()
            .map(|output| format!("{} {}", output.name, output.value_type))
            .collect();
        lines.line(
            0,
            format_args!("output: the spine's columns, then {}", outputs.join(", ")),
        );
        Ok(lines.0)
    }

    async fn explain_group(
        &self,
        cx: &Context,
        group: &Group,
        training: &Training,
        sql: Option<&SqlSpine>,
        lines: &mut Lines,
    ) -> Result<()> {
        let pushed_down = group.is_pushed_down();
        let who = if pushed_down {
            "joined by the store itself"
        } else {
            "joined on this machine over scans of the store"
        };
        lines.line(
            0,
            format_args!(
                "{} ({}): {who}",
                Role::Offline.block_name(group.name.as_deref()),
                group.store.info().display_name
            ),
        );
        for view in &group.join.views {
            explain_view(view, training, lines);
            if !pushed_down {
                let request = OfflineRequest::Scan(scan_of(view));
                lines.text(2, &store_text(cx, group, &request).await?);
            }
        }
        if pushed_down {
            let request = OfflineRequest::PointInTimeJoin(group.join.clone(), sql.cloned());
            lines.text(1, &store_text(cx, group, &request).await?);
        }
        Ok(())
    }
}

/// What the store says about its part; nothing, if it does not explain such requests.
async fn store_text(cx: &Context, group: &Group, request: &OfflineRequest) -> Result<String> {
    match group.store.explain(cx, request).await {
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(String::new()),
        said => said,
    }
}

fn explain_view(view: &ViewJoin, training: &Training, lines: &mut Lines) {
    lines.line(1, format_args!("view {}", view.name));
    let source = &view.source;
    let relation = match &source.source.relation {
        Relation::Table(table) => format!("table {table}"),
        Relation::Query(query) => format!("query {query}"),
    };
    let filter = source
        .source
        .filter
        .as_ref()
        .map_or_else(String::new, |filter| format!(" where {filter}"));
    lines.line(2, format_args!("source: {relation}{filter}"));
    let created = source
        .created_timestamp
        .as_ref()
        .map_or_else(String::new, |column| format!(", created {column}"));
    lines.line(2, format_args!("time: {}{created}", source.timestamp));
    if !source.tie_breakers.is_empty() {
        lines.line(
            2,
            format_args!("tie breakers: {}", source.tie_breakers.join(", ")),
        );
    }
    let keys: Vec<String> = view
        .keys
        .iter()
        .map(|key| key_text(key, training))
        .collect();
    lines.line(
        2,
        format_args!(
            "keys: {}",
            if keys.is_empty() {
                "none (one global row)".to_owned()
            } else {
                keys.join(", ")
            }
        ),
    );
    if view.aggregations.is_empty() {
        let ttl = view
            .ttl_us
            .map_or_else(|| "no limit".to_owned(), format_duration);
        lines.line(2, format_args!("ttl: {ttl}"));
    }
    let features = view.features.iter().map(|feature| {
        let checked = if feature.checked { " (checked)" } else { "" };
        format!("{} as {}{checked}", feature.column, feature.value_type)
    });
    let windows = view.aggregations.iter().map(|window| {
        format!(
            "{}({}) over {} as {}",
            window.function,
            window.column.as_deref().unwrap_or("*"),
            format_duration(window.window_us),
            window.value_type
        )
    });
    let columns: Vec<String> = features.chain(windows).collect();
    lines.line(2, format_args!("columns: {}", columns.join(", ")));
}

/// `spine.dest = faa (string)`.
fn key_text(key: &KeyColumn, training: &Training) -> String {
    let keys = training.meaning.spine.keys.iter().enumerate();
    let name = keys
        .filter(|(index, _)| crate::spine::SpineKey::internal_name(*index) == key.spine)
        .map(|(_, spine)| spine.name.as_str())
        .next()
        .unwrap_or(&key.spine);
    format!("spine.{name} = {} ({})", key.column, key.value_type)
}

/// What a join on this machine reads of a view.
fn scan_of(view: &ViewJoin) -> Scan {
    let source = &view.source;
    let mut columns: Vec<String> = Vec::new();
    let all = view
        .keys
        .iter()
        .map(|key| &key.column)
        .chain([&source.timestamp])
        .chain(&source.created_timestamp)
        .chain(&source.tie_breakers)
        .chain(view.features.iter().map(|feature| &feature.column))
        .chain(
            view.aggregations
                .iter()
                .filter_map(|window| window.column.as_ref()),
        );
    for column in all {
        if !columns.contains(column) {
            columns.push(column.clone());
        }
    }
    Scan {
        source: source.source.clone(),
        columns: Some(columns),
        // The bounds follow from the spine's times, which are not read here.
        ranges: vec![ColumnRange {
            column: source.timestamp.clone(),
            min_us: None,
            max_us: None,
        }],
    }
}

/// Indented lines.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn line(&mut self, indent: usize, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{}{text}", "  ".repeat(indent));
    }

    fn text(&mut self, indent: usize, text: &str) {
        for line in text.lines() {
            self.line(indent, format_args!("| {line}"));
        }
    }
}
