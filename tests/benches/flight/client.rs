//! The client of every measurement: what arrow-flight brings, the same for the floor and for the server.

use arrow_array::RecordBatch;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor, Ticket};
use arrow_schema::SchemaRef;
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};

use crate::Outcome;
use crate::data::{KEY, Shape};
use crate::floor::SHAPE_HEADER;

/// One connection. Clones share it.
pub(crate) type Client = FlightServiceClient<Channel>;

/// Connects to `host:port`.
pub(crate) async fn connect(address: &str) -> Outcome<Client> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
    Ok(FlightServiceClient::new(endpoint.connect().await?))
}

/// An open stream of online reads.
pub(crate) struct Exchange {
    keys: mpsc::Sender<RecordBatch>,
    answers: FlightRecordBatchStream,
}

impl Exchange {
    /// Opens a stream for keys of this schema.
    pub(crate) async fn open(mut client: Client, shape: Shape, schema: SchemaRef) -> Outcome<Self> {
        let command = json!({"op": "online", "service": shape.service()});
        let (keys, asked) = mpsc::channel(1);
        let messages = FlightDataEncoderBuilder::new()
            .with_schema(schema)
            .with_flight_descriptor(Some(FlightDescriptor::new_cmd(command.to_string())))
            .build(ReceiverStream::new(asked).map(Ok))
            // A batch of integers can always be written.
            .filter_map(|message| futures::future::ready(message.ok()));
        let request = marked(Request::new(messages), shape)?;
        let messages = client.do_exchange(request).await?.into_inner();
        Ok(Self {
            keys,
            answers: decoded(messages),
        })
    }

    /// Asks for keys and waits for as many rows.
    pub(crate) async fn ask(&mut self, keys: &RecordBatch) -> Outcome<Vec<RecordBatch>> {
        self.keys.send(keys.clone()).await?;
        let mut n_missing = keys.num_rows();
        let mut answer = Vec::with_capacity(1);
        while n_missing > 0 {
            let batch = self.answers.next().await.ok_or("the answers ended")??;
            n_missing = (n_missing.checked_sub(batch.num_rows())).ok_or("too many rows came")?;
            answer.push(batch);
        }
        Ok(answer)
    }
}

/// The ticket of an online read.
pub(crate) fn online_ticket(shape: Shape, drivers: &[i64]) -> Value {
    json!({"op": "online", "service": shape.service(), "entities": {KEY: drivers}})
}

/// One call that brings its keys along.
pub(crate) async fn get(
    client: &mut Client,
    shape: Shape,
    ticket: &str,
) -> Outcome<Vec<RecordBatch>> {
    let request = marked(Request::new(Ticket::new(ticket.to_owned())), shape)?;
    let messages = client.do_get(request).await?.into_inner();
    Ok(decoded(messages).try_collect().await?)
}

/// The messages that a ticket leads to.
pub(crate) async fn messages(client: &mut Client, ticket: &str) -> Outcome<Streaming<FlightData>> {
    let request = Request::new(Ticket::new(ticket.to_owned()));
    Ok(client.do_get(request).await?.into_inner())
}

/// Messages as rows.
pub(crate) fn decoded(messages: Streaming<FlightData>) -> FlightRecordBatchStream {
    FlightRecordBatchStream::new_from_flight_data(messages.map_err(FlightError::from))
}

fn marked<T>(mut request: Request<T>, shape: Shape) -> Outcome<Request<T>> {
    let value = shape.to_string().parse()?;
    request.metadata_mut().insert(SHAPE_HEADER, value);
    Ok(request)
}
