//! ListFlights, GetFlightInfo and GetSchema: what there is and which columns it has, without running
//! anything.

use std::sync::Arc;

use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, IpcMessage, SchemaAsIpc, Ticket};
use arrow_ipc::writer::IpcWriteOptions;
use arrow_schema::{Field, Schema, SchemaRef};
use bytes::Bytes;
use provender_core::model::Relation;
use provender_core::provider::ObjectKind;
use provender_core::request::SourceRef;
use provender_core::{Context, Error, Result, codes};

use super::historical_request;
use crate::command::{Command, HistoricalCommand, SpineSource};
use crate::online::online_request;
use crate::read::view_schema;
use crate::state::State;

/// One entry for each feature view, on-demand view and service.
///
/// # Errors
/// What the registry says.
pub(crate) async fn list(state: &State, cx: &Context) -> Result<Vec<FlightInfo>> {
    let mut flights = Vec::new();
    for object in state.store.list(cx).await? {
        let has_features = matches!(
            object.kind,
            ObjectKind::FeatureView | ObjectKind::OnDemandFeatureView | ObjectKind::FeatureService
        );
        if has_features {
            let descriptor = FlightDescriptor::new_path(vec![
                state.store.project().to_owned(),
                object.name.clone(),
            ]);
            let schema = described(state, cx, &object.name).await?;
            flights.push(info(descriptor, &schema, None)?);
        }
    }
    Ok(flights)
}

/// The columns of what a descriptor names, and for a command a ticket.
///
/// # Errors
/// `NotFound` for a path that names nothing, `InvalidArgument` for a descriptor of neither kind.
pub(crate) async fn flight_info(
    state: &State,
    cx: &Context,
    descriptor: FlightDescriptor,
) -> Result<FlightInfo> {
    let schema = schema_of(state, cx, &descriptor).await?;
    let ticket = (!descriptor.cmd.is_empty()).then(|| descriptor.cmd.clone());
    info(descriptor, &schema, ticket)
}

/// The columns of what a descriptor names.
///
/// # Errors
/// As [`flight_info`].
pub(crate) async fn schema_of(
    state: &State,
    cx: &Context,
    descriptor: &FlightDescriptor,
) -> Result<SchemaRef> {
    if !descriptor.cmd.is_empty() {
        return command_schema(state, cx, Command::parse(&descriptor.cmd)?).await;
    }
    match descriptor.path.as_slice() {
        [project, name] if project == state.store.project() => described(state, cx, name).await,
        [project, _] => Err(Error::new(
            &codes::UNKNOWN_VIEW,
            format!("this server has no project {project:?}"),
        )
        .help(format!("its project is {:?}", state.store.project()))),
        _ => Err(Error::new(
            &codes::BAD_REQUEST,
            "the descriptor has neither a command nor a path of project and name",
        )
        .help(format!(
            "send the path [{:?}, NAME], or a command such as {{\"op\":\"online\",\"service\":\"s\"}}",
            state.store.project()
        ))),
    }
}

/// Keys and features of a view or service.
async fn described(state: &State, cx: &Context, name: &str) -> Result<SchemaRef> {
    let described = state.store.describe(cx, name, None).await?;
    let keys = described
        .keys
        .iter()
        .map(|key| key.value_type.to_field(&key.name));
    let features = described.features.iter().filter_map(|feature| {
        let value_type = feature.value_type.as_ref()?;
        Some(value_type.to_field(&feature.name))
    });
    Ok(Arc::new(Schema::new(
        keys.chain(features).collect::<Vec<Field>>(),
    )))
}

async fn command_schema(state: &State, cx: &Context, command: Command) -> Result<SchemaRef> {
    match command {
        Command::Online(command) => {
            let request = online_request(&command)?;
            let prepared = state.prepared.get(&state.store, cx, &request).await?;
            Ok(prepared.ready().query.schema().clone())
        }
        Command::Historical(command) => historical_schema(state, cx, command).await,
        Command::Read(command) => view_schema(state, cx, &command.view).await,
        Command::Push(command) => state.store.push_schema(cx, &command.view).await,
        Command::Spine => Err(Error::new(
            &codes::BAD_REQUEST,
            "a spine has the columns that its client sends",
        )),
    }
}

/// The spine's columns and the features; without a spine the features alone.
async fn historical_schema(
    state: &State,
    cx: &Context,
    command: HistoricalCommand,
) -> Result<SchemaRef> {
    let request = historical_request(&command)?;
    let spine = match command.spine {
        None => return state.store.features_schema(cx, &request).await,
        Some(SpineSource::Handle(handle)) => state.spines.schema(&handle)?,
        Some(SpineSource::Sql(sql)) => source_schema(state, cx, Relation::Query(sql)).await?,
        Some(SpineSource::Table(table)) => source_schema(state, cx, Relation::Table(table)).await?,
    };
    state.store.historical_schema(cx, &request, &spine).await
}

async fn source_schema(state: &State, cx: &Context, relation: Relation) -> Result<SchemaRef> {
    let source = SourceRef {
        relation,
        filter: None,
        version: None,
    };
    state.store.source_columns(cx, &source).await
}

/// A schema as Flight carries it beside a stream.
///
/// # Errors
/// `Internal` if it cannot be written.
pub(crate) fn schema_bytes(schema: &Schema) -> Result<Bytes> {
    let options = IpcWriteOptions::default();
    let IpcMessage(schema) = SchemaAsIpc::new(schema, &options)
        .try_into()
        .map_err(|error| {
            Error::new(&codes::INTERNAL, "a schema cannot be written as Arrow IPC").source(error)
        })?;
    Ok(schema)
}

fn info(
    descriptor: FlightDescriptor,
    schema: &Schema,
    ticket: Option<Bytes>,
) -> Result<FlightInfo> {
    let schema = schema_bytes(schema)?;
    let endpoint = ticket.map(|ticket| FlightEndpoint::new().with_ticket(Ticket { ticket }));
    Ok(FlightInfo {
        schema,
        flight_descriptor: Some(descriptor),
        endpoint: endpoint.into_iter().collect(),
        total_records: -1,
        total_bytes: -1,
        ordered: true,
        app_metadata: Bytes::new(),
    })
}
