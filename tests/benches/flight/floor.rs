//! The floor: a Flight service that has its answers ready, and sends them with what arrow-flight brings.
//!
//! Its transport is set as the server's is. Whatever a server takes beyond this is its own. Beside Redis there
//! is a second floor, which asks that for the rows of each batch of keys first, and throws the replies away.

use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::str::FromStr;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::{FlightDataEncoder, FlightDataEncoderBuilder};
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::Outcome;
use crate::data::{SHAPES, Shape};
use crate::redis::{read_all, spell};

/// The header that says which of the answers is wanted.
pub(crate) const SHAPE_HEADER: &str = "shape";

/// Where a floor asks for rows: a Redis on this machine, and what the keys of rows end with.
#[derive(Clone, Debug)]
pub(crate) struct Asks {
    pub(crate) port: u16,
    pub(crate) end: Vec<u8>,
}

impl fmt::Display for Asks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.port)?;
        self.end.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Asks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no port and end of keys");
        let (port, end) = text.split_once(':').ok_or_else(bad)?;
        let bytes =
            (0..end.len() / 2).map(|at| u8::from_str_radix(end.get(at * 2..at * 2 + 2)?, 16).ok());
        Ok(Self {
            port: port.parse().map_err(|_| bad())?,
            end: bytes.collect::<Option<_>>().ok_or_else(bad)?,
        })
    }
}

impl Asks {
    /// Asks for the rows of keys, and waits for all replies.
    async fn ask(
        &self,
        stream: &mut TcpStream,
        keys: &RecordBatch,
        reply: &mut Vec<u8>,
    ) -> Outcome<()> {
        let drivers = keys.column(0).as_primitive::<Int64Type>();
        let spelled = spell(drivers.values(), &self.end, true);
        stream.write_all(&spelled).await?;
        read_all(stream, keys.num_rows(), reply).await
    }
}

/// Serves until the standard input ends; the first line on the standard output is the address.
pub(crate) fn serve(asks: Option<Asks>) -> Outcome<()> {
    // The driver holds the other end, so that no floor outlives it.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let answers = SHAPES.into_iter().map(|shape| Ok((shape, shape.ready()?)));
    let floor = Floor {
        answers: answers.collect::<Outcome<_>>()?,
        asks,
    };
    let n_threads = std::thread::available_parallelism()?.get();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(n_threads)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("grpc://{}", listener.local_addr()?);
        let incoming = TcpListenerStream::new(listener).map(|connection| {
            if let Ok(connection) = &connection {
                let _ = connection.set_nodelay(true);
            }
            connection
        });
        Server::builder()
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(32 << 20)
            .max_concurrent_streams(1_280)
            .http2_max_header_list_size(16 << 10)
            .load_shed(true)
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .add_service(FlightServiceServer::new(floor))
            .serve_with_incoming(incoming)
            .await?;
        Ok(())
    })
}

struct Floor {
    answers: HashMap<Shape, RecordBatch>,
    asks: Option<Asks>,
}

impl Floor {
    fn answer<T>(&self, request: &Request<T>) -> Result<RecordBatch, Status> {
        let shape = request.metadata().get(SHAPE_HEADER);
        let shape = shape.and_then(|text| text.to_str().ok()?.parse::<Shape>().ok());
        let answer = shape.and_then(|shape| self.answers.get(&shape)).cloned();
        answer.ok_or_else(|| Status::invalid_argument("no such shape"))
    }
}

fn sent(encoder: FlightDataEncoder) -> BoxStream<'static, Result<FlightData, Status>> {
    Box::pin(encoder.map_err(|error| Status::internal(error.to_string())))
}

fn not_here<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("the floor has no such verb"))
}

#[tonic::async_trait]
impl FlightService for Floor {
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type DoActionStream = BoxStream<'static, Result<arrow_flight::Result, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;
    type DoExchangeStream = BoxStream<'static, Result<FlightData, Status>>;

    async fn do_get(
        &self,
        request: Request<Ticket>,
    ) -> Result<Response<Self::DoGetStream>, Status> {
        let answer = self.answer(&request)?;
        let encoder = FlightDataEncoderBuilder::new().with_schema(answer.schema());
        let answer = futures::stream::once(async move { Ok(answer) });
        Ok(Response::new(sent(encoder.build(answer))))
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        let answer = self.answer(&request)?;
        let encoder = FlightDataEncoderBuilder::new().with_schema(answer.schema());
        let messages = request.into_inner().map_err(FlightError::from);
        let keys = FlightRecordBatchStream::new_from_flight_data(messages);
        let Some(asks) = self.asks.clone() else {
            let answers = keys.map_ok(move |_| answer.clone());
            return Ok(Response::new(sent(encoder.build(answers))));
        };
        let stream = TcpStream::connect(("127.0.0.1", asks.port)).await?;
        stream.set_nodelay(true)?;
        let state = (stream, keys, Vec::new());
        let answers =
            futures::stream::try_unfold(state, move |(mut stream, mut keys, mut reply)| {
                let (asks, answer) = (asks.clone(), answer.clone());
                async move {
                    let Some(batch) = keys.try_next().await? else {
                        return Ok(None);
                    };
                    asks.ask(&mut stream, &batch, &mut reply)
                        .await
                        .map_err(FlightError::ExternalError)?;
                    Ok(Some((answer, (stream, keys, reply))))
                }
            });
        Ok(Response::new(sent(encoder.build(answers))))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        not_here()
    }

    async fn list_flights(
        &self,
        _: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        not_here()
    }

    async fn get_flight_info(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        not_here()
    }

    async fn poll_flight_info(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        not_here()
    }

    async fn get_schema(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        not_here()
    }

    async fn do_put(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        not_here()
    }

    async fn do_action(
        &self,
        _: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        not_here()
    }

    async fn list_actions(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        not_here()
    }
}
