//! Names and values that try to be more than names and values, read back by a parser.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use provender_core::ValueType;
use provender_core::model::{AggregateFunction, Relation};
use provender_core::request::{
    ColumnRange, FeatureColumn, KeyColumn, LatestPerKey, PointInTimeJoin, Scan, SourceRef,
    SqlSpine, TimedSource, ViewJoin, WindowAggregate, WindowsAt,
};
use provender_dialects::{
    Dialect, SourceTable, Sources, SpineInput, SpineLayout, TableName, latest, point_in_time_join,
    scan, windows,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use sqlparser::ast::Statement;
use sqlparser::dialect::{DatabricksDialect, SnowflakeDialect};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer};

const PIECES: [&str; 24] = [
    "\"",
    "`",
    "'",
    "\\",
    ";",
    "--",
    "/*",
    "*/",
    "//",
    "$$",
    ")",
    "(",
    "\n",
    " ",
    "é",
    "日本",
    "SELECT",
    "DROP TABLE t",
    "a",
    "B",
    "{{x}}",
    "?",
    ":1",
    "\u{2028}",
];

fn hostile(rng: &mut StdRng, at: usize) -> String {
    let n_pieces = rng.random_range(1..6);
    let pieces: Vec<&str> = (0..n_pieces)
        .map(|_| *PIECES.choose(rng).unwrap())
        .collect();
    format!("{}{at}", pieces.concat())
}

fn parse(dialect: Dialect, sql: &str) -> Statement {
    let statements = match dialect {
        Dialect::Spark => Parser::parse_sql(&DatabricksDialect {}, sql),
        _ => Parser::parse_sql(&SnowflakeDialect {}, sql),
    };
    let mut statements = statements.unwrap_or_else(|error| panic!("{error}\n{sql}"));
    assert_eq!(statements.len(), 1, "{sql}");
    statements.remove(0)
}

/// The words and signs of a statement, names marked as such.
fn tokens(dialect: Dialect, sql: &str) -> Vec<(bool, String)> {
    let tokens = match dialect {
        Dialect::Spark => Tokenizer::new(&DatabricksDialect {}, sql).tokenize(),
        _ => Tokenizer::new(&SnowflakeDialect {}, sql).tokenize(),
    };
    tokens
        .unwrap()
        .into_iter()
        .filter(|token| !matches!(token, Token::Whitespace(_)))
        .map(|token| match token {
            Token::Word(word) if word.quote_style.is_some() => (true, word.value),
            other => (false, other.to_string()),
        })
        .collect()
}

/// The syntax tree of a statement as text, without the places where its words stand.
fn tree(dialect: Dialect, sql: &str) -> String {
    const PLACE: &str = "Span(Location(";
    let text = format!("{:?}", parse(dialect, sql));
    let mut without = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find(PLACE) {
        without.push_str(&rest[..at]);
        let from = &rest[at + PLACE.len()..];
        // `Span(Location(1,2)..Location(1,3))`: no name can hold the end, for digits alone come before it.
        rest = &from[from.find("))").unwrap() + 2..];
    }
    without.push_str(rest);
    without
}

/// The tree in which every quoted name that is one of `plain` is the one of `names` in its place.
fn renamed_tree(tree: &str, plain: &[String], names: &[String]) -> String {
    const NAME: &str = "value: \"";
    let mut renamed = String::with_capacity(tree.len());
    let mut rest = tree;
    while let Some(at) = rest.find(NAME) {
        renamed.push_str(&rest[..at]);
        let from = &rest[at + NAME.len()..];
        let end = from.find('"').unwrap();
        let known = plain.iter().position(|plain| *plain == from[..end]);
        let is_quoted = from[end..].starts_with("\", quote_style: Some(");
        match known {
            Some(known) if is_quoted => {
                renamed.push_str(&format!("value: {:?}", names[known]));
            }
            _ => renamed.push_str(&format!("{NAME}{}\"", &from[..end])),
        }
        rest = &from[end + 1..];
    }
    renamed.push_str(rest);
    renamed
}

/// Every statement of a set of requests whose names are these.
fn statements(dialect: Dialect, name: &[String], as_known: bool) -> Vec<String> {
    let [
        table,
        key,
        ts,
        created,
        tie,
        value,
        spine_key,
        spine_ts,
        schema,
        spine,
        out,
        scratch,
    ] = name
    else {
        panic!("{name:?}");
    };
    let instant = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let field = |name: &String, data_type: &DataType| Field::new(name, data_type.clone(), true);
    let columns = Arc::new(Schema::new(vec![
        field(key, &DataType::Utf8),
        field(ts, &instant),
        field(created, &instant),
        field(tie, &DataType::Float64),
        field(value, &DataType::Int64),
    ]));
    let source = SourceRef::table("as written");
    let mut sources = Sources::new();
    let known = SourceTable {
        schema: columns,
        table: Some(TableName::new([schema, table])),
    };
    sources.insert(&source, known);
    let timed = TimedSource {
        source: source.clone(),
        timestamp: ts.clone(),
        created_timestamp: Some(created.clone()),
        tie_breakers: vec![tie.clone()],
    };
    let keys = vec![KeyColumn {
        spine: spine_key.clone(),
        column: key.clone(),
        value_type: ValueType::String,
    }];
    let features = vec![FeatureColumn {
        column: value.clone(),
        output: out.clone(),
        value_type: ValueType::Int64,
        checked: false,
    }];
    let aggregations: Vec<WindowAggregate> = [
        AggregateFunction::Sum,
        AggregateFunction::CountDistinct,
        AggregateFunction::Last,
    ]
    .into_iter()
    .map(|function| WindowAggregate {
        function,
        column: Some(value.clone()),
        window_us: 10,
        output: format!("{out} {function}"),
        value_type: ValueType::Int64,
    })
    .collect();
    let view = |windows: bool| ViewJoin {
        name: out.clone(),
        source: timed.clone(),
        keys: keys.clone(),
        ttl_us: None,
        features: if windows {
            Vec::new()
        } else {
            features.clone()
        },
        aggregations: if windows {
            aggregations.clone()
        } else {
            Vec::new()
        },
    };
    let join = PointInTimeJoin {
        views: vec![view(false), view(true)],
        as_known,
    };
    let texts = StringArray::from(vec!["'); DROP TABLE t --", "\0'"]);
    let rows = RecordBatch::try_from_iter([
        (spine_key, Arc::new(texts) as ArrayRef),
        (
            spine_ts,
            Arc::new(TimestampMicrosecondArray::from(vec![1, 2])) as _,
        ),
        (scratch, Arc::new(Int64Array::from(vec![0, 1])) as _),
    ])
    .unwrap();
    let layout = SpineLayout::new(&join.views, spine_ts, scratch).unwrap();
    let spine_name = TableName::new([spine]);
    let scratch_name = TableName::new([scratch]);
    let spine_schema = rows.schema();
    let sql = SqlSpine {
        relation: Relation::Table("as written".to_owned()),
        timestamp: spine_ts.clone(),
    };
    let mut limits = dialect.limits();
    let mut all = layout.insert(dialect, &spine_name, &rows, &limits).unwrap();
    all.push(layout.create(dialect, &spine_name).unwrap());
    all.push(layout.drop(dialect, &spine_name).unwrap());
    let of_store = SpineInput::Sql {
        spine: &sql,
        schema: &spine_schema,
        table: Some(&spine_name),
        scratch: &scratch_name,
    };
    for max_views in [1, 9] {
        limits.max_views = max_views;
        for input in [SpineInput::Inline(&rows, &layout), of_store] {
            let plan = point_in_time_join(dialect, &join, input, &sources, &limits).unwrap();
            all.extend(plan.setup);
            all.extend(plan.answers.into_iter().map(|answer| answer.sql));
            all.extend(plan.cleanup);
        }
    }
    let ranges = vec![ColumnRange {
        column: ts.clone(),
        min_us: Some(3),
        max_us: Some(4),
    }];
    let request = LatestPerKey {
        source: timed.clone(),
        keys: keys.clone(),
        features,
        ranges: ranges.clone(),
    };
    all.push(latest(dialect, &request, &sources).unwrap().sql);
    let request = WindowsAt {
        source: timed,
        keys,
        aggregations,
        at_us: 5,
        active_after_us: 0,
    };
    all.push(windows(dialect, &request, &sources).unwrap().sql);
    let request = Scan {
        source,
        columns: None,
        ranges,
    };
    all.push(scan(dialect, &request, &sources).unwrap().sql);
    all
}

#[test]
fn hostile_names_and_values_stay_names_and_values() {
    let plain: Vec<String> = (0..12).map(|at| format!("plain{at}")).collect();
    for seed in 0..60 {
        let mut rng = StdRng::seed_from_u64(seed);
        let names: Vec<String> = (0..12).map(|at| hostile(&mut rng, at)).collect();
        for dialect in [Dialect::Snowflake, Dialect::Spark] {
            let as_known = seed % 2 == 0;
            let expected = statements(dialect, &plain, as_known);
            let found = statements(dialect, &names, as_known);
            assert_eq!(expected.len(), found.len());
            for (expected, found) in expected.iter().zip(&found) {
                // To a parser the statement is the same one, with other names in the same places.
                let tree_of_names = renamed_tree(&tree(dialect, expected), &plain, &names);
                assert_eq!(tree(dialect, found), tree_of_names, "{found}");
                // Nothing differs but the names, and those are read back as they are.
                let renamed: Vec<(bool, String)> = tokens(dialect, expected)
                    .into_iter()
                    .map(|(is_name, text)| {
                        match plain.iter().position(|plain| is_name && *plain == text) {
                            Some(at) => (true, names[at].clone()),
                            None => (is_name, text),
                        }
                    })
                    .collect();
                assert_eq!(tokens(dialect, found), renamed, "{found}");
            }
        }
    }
}

/// Filters and queries of definitions end where they stand, or are refused.
#[test]
fn hostile_filters_and_queries_stay_in_their_parentheses_or_are_refused() {
    let columns = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
    let (mut n_refused, mut n_taken) = (0, 0);
    for seed in 0..4_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let text = match seed % 2 {
            0 => format!("a > 1 {}", hostile(&mut rng, 1)),
            _ => format!("SELECT a FROM t WHERE a > 1 {}", hostile(&mut rng, 1)),
        };
        let mut source = SourceRef::table("t");
        match seed % 2 {
            0 => source.filter = Some(text.clone()),
            _ => source.relation = Relation::Query(text.clone()),
        }
        for dialect in [Dialect::Snowflake, Dialect::Spark] {
            // The tokenizer reads these as quotes in any dialect, and Spark does not.
            if dialect == Dialect::Spark && text.contains("$$") {
                continue;
            }
            let mut sources = Sources::new();
            let known = SourceTable {
                schema: columns.clone(),
                table: None,
            };
            sources.insert(&source, known);
            let request = Scan {
                source: source.clone(),
                columns: None,
                ranges: Vec::new(),
            };
            let answer = match scan(dialect, &request, &sources) {
                Ok(answer) => answer.sql,
                Err(error) => {
                    assert_eq!(error.code(), "P123", "{text}: {error}");
                    n_refused += 1;
                    continue;
                }
            };
            n_taken += 1;
            // What stands before and after the text are words of ours: the text opens and closes what it
            // opens alone, and holds no end of a statement.
            let (before, rest) = answer.split_once(&text).unwrap();
            let Some(inside) = words(dialect, &text) else {
                panic!("{text:?} was taken, and cannot be read");
            };
            let mut depth = 0_i64;
            for word in &inside {
                depth += i64::from(word == "(") - i64::from(word == ")");
                assert!(depth >= 0 && word != ";", "{text:?}");
            }
            assert_eq!(depth, 0, "{text:?}");
            let whole = words(dialect, &answer).unwrap();
            let (first, last) = (words(dialect, before), words(dialect, rest));
            assert_eq!(
                whole,
                [first.unwrap(), inside, last.unwrap()].concat(),
                "{text:?}"
            );
        }
    }
    assert!(n_refused > 500 && n_taken > 500, "{n_refused}, {n_taken}");
}

/// The words and signs of a text; `None` if a tokenizer cannot read it to its end.
fn words(dialect: Dialect, sql: &str) -> Option<Vec<String>> {
    let tokens = match dialect {
        Dialect::Spark => Tokenizer::new(&DatabricksDialect {}, sql).tokenize(),
        _ => Tokenizer::new(&SnowflakeDialect {}, sql).tokenize(),
    };
    let tokens = tokens.ok()?;
    Some(
        tokens
            .into_iter()
            .filter(|token| !matches!(token, Token::Whitespace(_)))
            .map(|token| token.to_string())
            .collect(),
    )
}

#[test]
fn hundreds_of_features_of_dozens_of_views_take_several_statements_within_the_limits() {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let instant = DataType::Timestamp(TimeUnit::Microsecond, None);
    let mut fields = vec![field("k", DataType::Int64), field("ts", instant)];
    fields.extend((0..50).map(|at| field(&format!("f{at}"), DataType::Float64)));
    let mut sources = Sources::new();
    let known = SourceTable {
        schema: Arc::new(Schema::new(fields)),
        table: None,
    };
    sources.insert(&SourceRef::table("t"), known);
    let views: Vec<ViewJoin> = (0..60)
        .map(|view| ViewJoin {
            name: format!("v{view}"),
            source: TimedSource {
                source: SourceRef::table("t"),
                timestamp: "ts".to_owned(),
                created_timestamp: None,
                tie_breakers: Vec::new(),
            },
            keys: vec![KeyColumn {
                spine: "k".to_owned(),
                column: "k".to_owned(),
                value_type: ValueType::Int64,
            }],
            ttl_us: None,
            features: (0..50)
                .map(|at| FeatureColumn {
                    column: format!("f{at}"),
                    output: format!("v{view}_f{at}"),
                    value_type: ValueType::Float64,
                    checked: false,
                })
                .collect(),
            aggregations: Vec::new(),
        })
        .collect();
    let join = PointInTimeJoin {
        views,
        as_known: false,
    };
    let layout = SpineLayout::new(&join.views, "t", "n").unwrap();
    let table = TableName::new(["spine"]);
    for dialect in [Dialect::Snowflake, Dialect::Spark] {
        let mut limits = dialect.limits();
        // By the warehouse's own limits, 3,000 features of 60 views take three statements.
        let input = SpineInput::Table(&table, &layout);
        let plan = point_in_time_join(dialect, &join, input, &sources, &limits).unwrap();
        assert_eq!(plan.answers.len(), 3);
        for answer in &plan.answers {
            assert!(
                answer.sql.len() <= limits.max_text_bytes,
                "{}",
                answer.sql.len()
            );
        }
        limits.max_text_bytes = 40_000;
        let input = SpineInput::Table(&table, &layout);
        let plan = point_in_time_join(dialect, &join, input, &sources, &limits).unwrap();
        assert!(plan.answers.len() > 3, "{}", plan.answers.len());
        let mut outputs = Vec::new();
        for answer in &plan.answers {
            assert!(
                answer.sql.len() <= limits.max_text_bytes,
                "{}",
                answer.sql.len()
            );
            parse(dialect, &answer.sql);
            outputs.extend(
                answer
                    .columns
                    .iter()
                    .skip(1)
                    .map(|column| column.name.clone()),
            );
        }
        let asked = join.views.iter().flat_map(|view| &view.features);
        let asked: Vec<String> = asked.map(|feature| feature.output.clone()).collect();
        assert_eq!(outputs, asked);
    }
}
