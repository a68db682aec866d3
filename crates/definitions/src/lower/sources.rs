//! Sources: a table or a query, and the columns that tell time.

use std::collections::BTreeMap;

use provender_core::model::{Relation, Source, SourceVersion};
use provender_core::provider::ObjectKind;
use provender_core::time::parse_instant;
use provender_core::{Error, codes};

use super::values::documentation;
use super::{Found, Lowering, Subject};
use crate::located::{Attempt, Located};
use crate::spec::{SourceSpec, VersionSpec};

impl Lowering {
    pub(super) fn source(&mut self, found: &Found<SourceSpec>) {
        let spec = &found.spec;
        let subject = Subject::new(ObjectKind::Source, &spec.name.value);
        if self.definitions.sources.contains_key(&subject.name) {
            return;
        }
        self.locate_source(&subject, found);
        let lowered = self.attempt(&subject, |this| this.lower_source(&subject, found));
        if let Some(source) = lowered {
            self.definitions.sources.insert(subject.name, source);
        }
    }

    fn locate_source(&mut self, subject: &Subject, found: &Found<SourceSpec>) {
        let (kind, name) = (subject.kind, subject.name.as_str());
        let spec = &found.spec;
        self.locations.add_object(kind, name, &found.at);
        let texts = [
            ("timestamp", Some(&spec.timestamp)),
            ("created_timestamp", spec.created_timestamp.as_ref()),
            ("store", spec.store.as_ref()),
            ("table", spec.table.as_ref()),
            ("query", spec.query.as_ref()),
            ("filter", spec.filter.as_ref()),
            ("lookback", spec.lookback.as_ref()),
        ];
        for (field, text) in texts {
            if let Some(text) = text {
                self.locations.add_field(kind, name, field, &text.at);
            }
        }
        if let Some(version) = &spec.version {
            self.locations.add_field(kind, name, "version", &version.at);
        }
        for (key, column) in spec.columns.iter().flat_map(|columns| &columns.0) {
            let field = format!("columns.{}", key.value);
            self.locations.add_field(kind, name, field, &column.at);
        }
        for column in spec.tie_breakers.iter().flatten().filter_map(Attempt::get) {
            let field = format!("tie_breakers.{}", column.value);
            self.locations.add_field(kind, name, field, &column.at);
        }
    }

    fn lower_source(&mut self, subject: &Subject, found: &Found<SourceSpec>) -> Option<Source> {
        let spec = &found.spec;
        let relation = self.relation(subject, found);
        let version = match &spec.version {
            None => None,
            Some(version) => self.source_version(subject, version, spec.query.is_some()),
        };
        let timestamp = self.filled(subject, "timestamp", &spec.timestamp);
        let created = spec.created_timestamp.as_ref();
        let created_timestamp = self.filled_if_any(subject, "created_timestamp", created);
        let store = self.filled_if_any(subject, "store", spec.store.as_ref());
        let filter = self.filled_if_any(subject, "filter", spec.filter.as_ref());
        let tie_breakers = self.tie_breakers(subject, spec);
        let mut columns = BTreeMap::new();
        for (key, column) in spec.columns.iter().flat_map(|columns| &columns.0) {
            let name = format!("columns.{}", key.value);
            if let Some(column) = self.filled(subject, &name, column) {
                columns.insert(key.value.clone(), column);
            }
        }
        let lookback_us = match &spec.lookback {
            None => None,
            Some(lookback) => {
                if spec.created_timestamp.is_some() {
                    self.contradiction(
                        subject,
                        &lookback.at,
                        format!("{subject} has both lookback and created_timestamp"),
                        "remove lookback: the created timestamp already finds late rows",
                    );
                }
                self.duration(subject, "lookback", lookback)
            }
        };
        Some(Source {
            name: subject.name.clone(),
            store: store?,
            relation: relation?,
            filter: filter?,
            version,
            timestamp: timestamp?,
            created_timestamp: created_timestamp?,
            tie_breakers,
            columns,
            lookback_us,
            documentation: documentation(
                spec.description.as_ref(),
                spec.owner.as_ref(),
                spec.tags.as_ref(),
            ),
        })
    }

    fn relation(&mut self, subject: &Subject, found: &Found<SourceSpec>) -> Option<Relation> {
        match (&found.spec.table, &found.spec.query) {
            (Some(table), None) => self.filled(subject, "table", table).map(Relation::Table),
            (None, Some(query)) => self.filled(subject, "query", query).map(Relation::Query),
            (Some(_), Some(query)) => {
                self.contradiction(
                    subject,
                    &query.at,
                    format!("{subject} has both table and query"),
                    "keep the one that names its rows; filter takes a condition on a table",
                );
                None
            }
            (None, None) => {
                self.contradiction(
                    subject,
                    &found.at,
                    format!("{subject} has neither table nor query"),
                    "add table: with the name of a table, or query: with a SELECT",
                );
                None
            }
        }
    }

    fn source_version(
        &mut self,
        subject: &Subject,
        version: &Located<VersionSpec>,
        has_query: bool,
    ) -> Option<SourceVersion> {
        if has_query {
            self.contradiction(
                subject,
                &version.at,
                format!("{subject} has both version and query"),
                "name a table, or put the version into the query in the store's own SQL",
            );
            return None;
        }
        match &version.value {
            VersionSpec::Number(number) => Some(SourceVersion::Number(*number)),
            VersionSpec::Text(text) => match parse_instant(text) {
                Ok(instant_us) => Some(SourceVersion::TimestampUs(instant_us)),
                Err(_) => {
                    let error = Error::new(
                        &codes::WRONG_TYPE,
                        format!("version of {subject} is neither a number nor a time: {text:?}"),
                    )
                    .help("write a version number such as 3, or RFC 3339 text such as 2013-01-01T05:00:00Z");
                    self.fault(subject, &version.at, error);
                    None
                }
            },
        }
    }

    fn tie_breakers(&mut self, subject: &Subject, spec: &SourceSpec) -> Vec<String> {
        let mut columns: Vec<String> = Vec::new();
        for column in spec.tie_breakers.iter().flatten().filter_map(Attempt::get) {
            if columns.contains(&column.value) {
                self.contradiction(
                    subject,
                    &column.at,
                    format!("{subject} has the tie breaker {:?} twice", column.value),
                    "remove one of them",
                );
            } else if let Some(name) = self.filled(subject, "tie_breakers", column) {
                columns.push(name);
            }
        }
        columns
    }
}
