//! `provender online`

use std::sync::Arc;
use std::time::Instant;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{FieldRef, Schema};
use futures::StreamExt;
use provender_core::{BatchStream, Error, Result, codes};
use provender_store::{OnlineQuery, OnlineRequest, Selection};

use crate::args::{Entities, OnlineArgs};
use crate::errors::{DONE, Failure, Outcome, say, usage};
use crate::input::{Input, InputFile, Pair, pairs, repeated, typed};
use crate::output::Destination;
use crate::progress::{Progress, plural};
use crate::session::Session;

/// The option that fields of the request stand in, for messages.
const REQUEST: &str = "--request";

/// Reads the latest features of entities.
///
/// # Errors
/// `P401` to `P406` for a request that does not fit, `P601` for a view that is not online, `P603` for a
/// row that cannot be read.
pub(crate) async fn run(session: &Session, args: OnlineArgs) -> Outcome {
    let request = request(&args)?;
    let entities = Given::parse(&args.entities)?;
    let fields = fields(&args.request)?;
    let destination = match &args.out {
        Some(path) => Destination::file(path, session.output)?,
        None => Destination::stdout(session.output)?,
    };
    let store = session.store().await?;
    let query = store.prepare_online(&session.cx, &request).await?;
    if session.verbose {
        say(&format!("reading {}", query.selected()));
    }
    let opened = destination.open()?;
    let started = Instant::now();
    let Input { stream, n_rows } = entities.rows(session, &query, &fields).await?;
    let rows = answers(session, &query, stream, fields)?;
    let progress = Progress::rows("reading", n_rows);
    let written = opened.write(progress.watch(rows), usize::MAX).await?;
    drop(progress);
    if let Some(path) = &args.out {
        say(&format!(
            "wrote {} of {} to {} ({:.1} s)",
            plural(written.n_rows, "row"),
            plural(written.n_columns as u64, "column"),
            path.display(),
            started.elapsed().as_secs_f64()
        ));
    }
    Ok(DONE)
}

fn request(args: &OnlineArgs) -> Outcome<OnlineRequest> {
    let selection = match &args.service {
        Some(service) => Selection::service(service),
        None => Selection::features(&args.features.join(",")),
    };
    Ok(OnlineRequest {
        full_feature_names: args.full_feature_names,
        status: args.status,
        ..OnlineRequest::new(selection.map_err(Failure::Usage)?)
    })
}

/// The fields of all `--request` options.
fn fields(texts: &[String]) -> Outcome<Vec<Pair>> {
    let mut fields: Vec<Pair> = Vec::new();
    for text in texts {
        for pair in pairs(REQUEST, text)? {
            if fields.iter().any(|known| known.name == pair.name) {
                return Err(usage(
                    format!("{REQUEST} names {:?} twice", pair.name),
                    "a field has one value for all entities; else put it among the keys",
                ));
            }
            fields.push(pair);
        }
    }
    Ok(fields)
}

/// Entities as the command line gives them.
pub(super) enum Given {
    /// By `--entity`; none are one row without keys.
    Typed(Vec<Vec<Pair>>),
    /// By `--entities`.
    File(InputFile),
}

impl Given {
    /// Reads the options; opens nothing.
    ///
    /// # Errors
    /// Wrong usage for entities that are misspelt and files of no known format.
    pub(super) fn parse(entities: &Entities) -> Outcome<Self> {
        Ok(match &entities.file {
            Some(path) => Self::File(InputFile::new(path, entities.format, None)?),
            None => Self::Typed(
                entities
                    .typed
                    .iter()
                    .map(|text| pairs("--entity", text))
                    .collect::<Result<_, _>>()?,
            ),
        })
    }

    async fn rows(self, session: &Session, query: &OnlineQuery, fields: &[Pair]) -> Outcome<Input> {
        let declared = query.input_schema();
        let typed_rows = match self {
            Self::File(file) => return Ok(file.expecting(declared).open(&session.cx).await?),
            Self::Typed(rows) => rows,
        };
        let keys = &declared.fields()[..query.n_keys()];
        let given = |key: &FieldRef| fields.iter().any(|field| field.name == *key.name());
        let batch = if !typed_rows.is_empty() {
            typed(declared, &typed_rows)?
        } else if keys.iter().all(given) {
            repeated(declared, REQUEST, &[], 1)?
        } else {
            let names: Vec<&str> = keys.iter().map(|key| key.name().as_str()).collect();
            return Err(Error::new(
                &codes::MISSING_SPINE_COLUMN,
                format!(
                    "{} has the keys {}, and no entity is named",
                    query.selected(),
                    names.join(", ")
                ),
            )
            .help(format!(
                "pass --entity {}=VALUE, or --entities FILE",
                names.join("=VALUE,")
            ))
            .into());
        };
        Ok(Input {
            n_rows: Some(batch.num_rows() as u64),
            stream: BatchStream::from_batches(batch.schema(), vec![batch]),
        })
    }
}

/// The features of each batch of entities, read as they come.
fn answers(
    session: &Session,
    query: &OnlineQuery,
    entities: BatchStream,
    fields: Vec<Pair>,
) -> Outcome<BatchStream> {
    let declared = query.input_schema().clone();
    let extra = repeated(&declared, REQUEST, &fields, 0)?.schema();
    let all: Vec<FieldRef> = entities
        .schema
        .fields()
        .iter()
        .chain(extra.fields())
        .cloned()
        .collect();
    let schema = Arc::new(Schema::new(all));
    let call = query.bind(&schema)?;
    let cx = session.cx.clone();
    let batches = entities.batches.then(move |batch| {
        let (call, cx) = (call.clone(), cx.clone());
        let whole = batch.and_then(|batch| {
            let extra = repeated(&declared, REQUEST, &fields, batch.num_rows())?;
            beside(schema.clone(), &batch, &extra)
        });
        async move { call.read(&cx, &whole?).await }
    });
    Ok(BatchStream::new(query.schema().clone(), batches))
}

fn beside(schema: Arc<Schema>, left: &RecordBatch, right: &RecordBatch) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = left
        .columns()
        .iter()
        .chain(right.columns())
        .cloned()
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(left.num_rows()));
    RecordBatch::try_new_with_options(schema, columns, &options).map_err(|error| {
        Error::new(
            &codes::INTERNAL,
            "entities and fields of the request do not fit each other",
        )
        .source(error)
    })
}
