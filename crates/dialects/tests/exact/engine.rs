//! Engines that stand in for warehouses, and tables as each of them can hold them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use provender_conformance::Table;
use provender_conformance::generate::build;
use provender_conformance::oracle::Value;
use provender_core::ValueType;
use provender_core::time::is_time_type;
use provender_dialects::Dialect;
use serde_json::{Value as Json, json};

/// A running engine, which ends with the test.
pub struct Engine {
    pub dialect: Dialect,
    child: Child,
    requests: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
    n_files: usize,
}

impl Engine {
    pub fn start(dialect: Dialect) -> Self {
        let venv = std::env::var("PROVENDER_VENV").unwrap_or_else(|_| ".venv".to_owned());
        let python = std::path::absolute(Path::new(&venv).join("bin/python")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engines/engine.py");
        let name = match dialect {
            Dialect::Spark => "spark",
            _ => "snowflake",
        };
        let mut child = Command::new(&python)
            .arg(script)
            .arg(name)
            .env("TZ", "America/New_York")
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", python.display()));
        let requests = child.stdin.take();
        let replies = BufReader::new(child.stdout.take().unwrap());
        let mut engine = Self {
            dialect,
            child,
            requests,
            replies,
            folder,
            n_files: 0,
        };
        assert_eq!(engine.reply(), json!({"ready": true}));
        engine
    }

    /// Runs statements over tables and answers the result of each query.
    pub fn run(
        &mut self,
        tables: &BTreeMap<String, RecordBatch>,
        setup: &[String],
        queries: &[String],
        cleanup: &[String],
    ) -> Result<Vec<RecordBatch>, String> {
        let files: Vec<PathBuf> = queries.iter().map(|_| self.file()).collect();
        let queries: Vec<Json> = queries
            .iter()
            .zip(&files)
            .map(|(sql, file)| json!([sql, file]))
            .collect();
        let request = json!({
            "tables": self.upload(tables), "setup": setup, "queries": queries, "cleanup": cleanup,
        });
        let reply = self.ask(&request);
        if let Some(error) = reply["error"].as_str() {
            return Err(error.to_owned());
        }
        Ok(files.iter().map(|file| read(file)).collect())
    }

    /// How many rows each step of a query's plan put out.
    pub fn counts(
        &mut self,
        tables: &BTreeMap<String, RecordBatch>,
        query: &str,
    ) -> BTreeMap<String, u64> {
        let request = json!({
            "tables": self.upload(tables), "setup": [], "queries": [[query, ""]], "cleanup": [], "count": true,
        });
        let reply = self.ask(&request);
        serde_json::from_value(reply["counts"].clone()).unwrap_or_else(|_| panic!("{reply}"))
    }

    fn ask(&mut self, request: &Json) -> Json {
        let requests = self.requests.as_mut().unwrap();
        writeln!(requests, "{request}").unwrap();
        requests.flush().unwrap();
        self.reply()
    }

    fn reply(&mut self) -> Json {
        let mut line = String::new();
        self.replies.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the engine ended"))
    }

    fn upload(&mut self, tables: &BTreeMap<String, RecordBatch>) -> BTreeMap<String, PathBuf> {
        tables
            .iter()
            .map(|(name, batch)| {
                let file = self.file();
                let out = std::fs::File::create(&file).unwrap();
                let mut writer =
                    arrow_ipc::writer::FileWriter::try_new(out, &batch.schema()).unwrap();
                writer.write(batch).unwrap();
                writer.finish().unwrap();
                (name.clone(), file)
            })
            .collect()
    }

    fn file(&mut self) -> PathBuf {
        self.n_files += 1;
        self.folder.path().join(format!("{}.arrow", self.n_files))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // The end of its input is the script's sign to stop the server that it started.
        self.requests.take();
        let _ = self.child.wait();
    }
}

fn read(path: &Path) -> RecordBatch {
    let file = std::fs::File::open(path).unwrap();
    let reader = arrow_ipc::reader::FileReader::try_new(file, None).unwrap();
    let schema = reader.schema();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    Table { schema, batches }.one_batch().unwrap()
}

/// The table with columns of types that the dialect's warehouse has. Columns that differ from another in case
/// alone, which no request names, are left out, since the engines do not tell them apart.
pub fn as_stored(dialect: Dialect, table: &Table) -> RecordBatch {
    let batch = table.one_batch().unwrap();
    let mut columns: Vec<(Field, ArrayRef)> = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if matches!(field.name().as_str(), "C0" | "TS") {
            continue;
        }
        let values: Vec<Value> = (0..column.len())
            .map(|row| Value::read(column.as_ref(), row).unwrap())
            .collect();
        let to = stored_type(dialect, field.data_type());
        let column = if to == *field.data_type() {
            column.clone()
        } else {
            build(&to, &values).unwrap()
        };
        columns.push((Field::new(field.name(), to, true), column));
    }
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn stored_type(dialect: Dialect, found: &DataType) -> DataType {
    match found {
        DataType::Null => DataType::Int64,
        // The one engine has nothing finer, and the other rounds what is.
        DataType::Timestamp(_, zone) => DataType::Timestamp(
            TimeUnit::Microsecond,
            zone.as_ref().map(|_| Arc::from("UTC")),
        ),
        DataType::Date32 => DataType::Date32,
        other if is_time_type(other) => DataType::Timestamp(TimeUnit::Microsecond, None),
        other => {
            let found = ValueType::from_arrow(other).unwrap();
            plain_type(dialect, &found)
        }
    }
}

fn plain_type(dialect: Dialect, found: &ValueType) -> DataType {
    let field = |name: &str, found: &ValueType| Field::new(name, plain_type(dialect, found), true);
    match (dialect, found) {
        (Dialect::Spark, ValueType::UInt8) => DataType::Int16,
        (Dialect::Spark, ValueType::UInt16) => DataType::Int32,
        (Dialect::Spark, ValueType::UInt32) => DataType::Int64,
        (Dialect::Spark, ValueType::UInt64) => DataType::Decimal128(20, 0),
        // Neither warehouse has lists of fixed size.
        (_, ValueType::Embedding(_)) => {
            DataType::List(Arc::new(Field::new("item", DataType::Float32, true)))
        }
        (_, ValueType::List(item)) => DataType::List(Arc::new(field("item", item))),
        (_, ValueType::Struct(fields)) => DataType::Struct(
            fields
                .iter()
                .map(|(name, found)| field(name, found))
                .collect(),
        ),
        (_, ValueType::Map(key, value)) => {
            let entries = vec![
                field("key", key).with_nullable(false),
                field("value", value),
            ];
            DataType::Map(
                Arc::new(Field::new(
                    "entries",
                    DataType::Struct(entries.into()),
                    false,
                )),
                false,
            )
        }
        _ => found.to_arrow(),
    }
}
