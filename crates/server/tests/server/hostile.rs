//! Whatever bytes a client sends: an answer or a mistake of the client's, and a server that goes on.

use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_flight::{Action, Criteria, FlightData, FlightDescriptor, Ticket};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use serde_json::json;
use tonic::{Code, Status};

use crate::support::*;

static N_PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // Arrow's reader is fenced off: what it panics about is a mistake of the message.
        let is_fenced = panic
            .location()
            .is_some_and(|at| at.file().contains("/arrow-"));
        if !is_fenced && !panic.to_string().contains("tests/server/") {
            N_PANICS.fetch_add(1, Ordering::SeqCst);
        }
        before(panic);
    }));
}

fn allowed(status: &Status) {
    let fine = [
        Code::InvalidArgument,
        Code::NotFound,
        Code::FailedPrecondition,
        Code::ResourceExhausted,
        Code::Unimplemented,
        Code::Cancelled,
    ];
    assert!(fine.contains(&status.code()), "{status:?}");
}

fn mutate(rng: &mut StdRng, bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    if bytes.is_empty() {
        bytes = vec![0; rng.random_range(0..40)];
        rng.fill_bytes(&mut bytes);
        return bytes.into();
    }
    for _ in 0..rng.random_range(1..5) {
        if bytes.is_empty() {
            break;
        }
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..6) {
            0 => bytes[at] = rng.random(),
            1 => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => bytes.truncate(at),
            3 => bytes[at] = [0, 1, 127, 128, 255][rng.random_range(0..5)],
            4 => bytes.insert(at, rng.random()),
            _ => {
                bytes.remove(at);
            }
        }
    }
    bytes.into()
}

async fn drain<T>(answer: Result<tonic::Response<tonic::Streaming<T>>, Status>) {
    match answer {
        Err(status) => allowed(&status),
        Ok(answer) => {
            let mut answer = answer.into_inner();
            loop {
                match answer.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(status) => {
                        allowed(&status);
                        break;
                    }
                }
            }
        }
    }
}

/// Commands that clients mean well with.
fn commands() -> Vec<Bytes> {
    [
        online("plain", json!({"origin": ["JFK", null]})),
        json!({"op": "online", "features": ["airport_weather:temp"], "entities": {"origin": ["x"]}, "status": true}),
        json!({"op": "online", "service": "model", "entities": {"origin": ["JFK"]}, "request": {"humidity": "NaN"}}),
        json!({"op": "historical", "service": "plain", "spine": {"table": "labels"}, "as_known": false}),
        json!({"op": "historical", "service": "plain", "spine": {"sql": "SELECT * FROM labels"}}),
        json!({"op": "read", "view": "airport_weather", "start": 0, "end": "2100-01-01T00:00:00Z"}),
        json!({"op": "push", "view": "season", "to": "both", "id": "x"}),
        json!({"op": "spine"}),
    ]
    .iter()
    .map(|command| Bytes::from(command.to_string()))
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_hostile_messages_leave_the_server_as_it_was() {
    if !is_alone("hostile::ten_thousand_hostile_messages_leave_the_server_as_it_was") {
        return;
    }
    count_panics();
    let served = serve().await;
    let mut rng = StdRng::seed_from_u64(4);
    let commands = commands();
    let keys = keys(&["JFK", "LGA", "x"]);
    let streams = [
        messages(
            &json!({"op": "online", "service": "plain"}),
            vec![keys.clone(), keys],
        )
        .await,
        messages(
            &json!({"op": "historical", "service": "plain", "timestamp": "time_hour"}),
            vec![spine(20)],
        )
        .await,
        messages(&json!({"op": "spine"}), vec![spine(20)]).await,
        messages(
            &json!({"op": "push", "view": "season", "to": "online"}),
            vec![batch(&[
                ("since", hours_ago(&[1])),
                ("name", strings(&["w"])),
            ])],
        )
        .await,
    ];
    let mut client = served.client().await;
    let warm = rss();
    let mut n_messages = 0;
    while n_messages < 10_000 {
        let at = rng.random_range(0..commands.len());
        let command = mutate(&mut rng, &commands[at]);
        match rng.random_range(0..10) {
            0 | 1 => drain(client.do_get(Ticket { ticket: command }).await).await,
            2 => {
                let found = client
                    .get_flight_info(FlightDescriptor::new_cmd(command))
                    .await;
                drop(found.map_err(|status| allowed(&status)));
            }
            3 => {
                let names = [
                    mutate(&mut rng, &"flights".into()),
                    mutate(&mut rng, &"plain".into()),
                ];
                let path = names.map(|name| String::from_utf8_lossy(&name).into_owned());
                let found = client
                    .get_schema(FlightDescriptor::new_path(path.to_vec()))
                    .await;
                drop(found.map_err(|status| allowed(&status)));
            }
            4 => {
                // Nothing that changes definitions: later messages are about them.
                let action =
                    ["plan", "list", "describe", "status", "health", "x"][rng.random_range(0..6)];
                let body = mutate(
                    &mut rng,
                    &r#"{"files": {"features/a.yaml": "entities: []"}, "name": "plain"}"#.into(),
                );
                drain(client.do_action(Action::new(action, body)).await).await;
            }
            5 => {
                let expression = mutate(&mut rng, &Bytes::new());
                drain(client.list_flights(Criteria { expression }).await).await;
            }
            _ => {
                let mut stream = streams[rng.random_range(0..streams.len())].clone();
                for _ in 0..rng.random_range(1..4) {
                    let at = rng.random_range(0..stream.len());
                    match rng.random_range(0..8) {
                        0..=3 => {
                            stream[at].data_header =
                                mutate(&mut rng, &stream[at].data_header.clone())
                        }
                        4 | 5 => {
                            stream[at].data_body = mutate(&mut rng, &stream[at].data_body.clone())
                        }
                        6 => stream.swap(0, at),
                        _ => stream.truncate(at.max(1)),
                    }
                }
                n_messages += stream.len() - 1;
                if rng.random_bool(0.5) {
                    drain(client.do_exchange(futures::stream::iter(stream)).await).await;
                } else {
                    drain(client.do_put(futures::stream::iter(stream)).await).await;
                }
            }
        }
        n_messages += 1;
    }
    let rows = served
        .get(online("plain", json!({"origin": ["JFK"]})))
        .await
        .unwrap();
    assert_eq!(text(&rows, "alt"), ["13"]);
    served.until("provender_calls_at_work", 0.0).await;
    served.until("provender_held_bytes", 0.0).await;
    let grown = rss().saturating_sub(warm);
    println!("{n_messages} messages, {grown} MiB more");
    // Prepared queries and what the allocator keeps, of the clients as well.
    assert!(grown < 64, "{grown} MiB more");
    assert_eq!(N_PANICS.load(Ordering::SeqCst), 0);
    let metrics = served.metrics().await;
    assert!(!metrics.contains("P999"), "{metrics}");
    served.stop().await;
}

async fn refused_header(served: &Served, header: &[u8]) -> Status {
    let command = json!({"op": "online", "service": "plain"});
    let sent = [
        FlightData {
            flight_descriptor: Some(descriptor(&command)),
            ..FlightData::default()
        },
        FlightData {
            data_header: Bytes::copy_from_slice(header),
            ..FlightData::default()
        },
    ];
    served
        .client()
        .await
        .do_put(futures::stream::iter([FlightData {
            flight_descriptor: Some(descriptor(&json!({"op": "spine"}))),
            data_header: Bytes::copy_from_slice(header),
            ..FlightData::default()
        }]))
        .await
        .unwrap()
        .into_inner()
        .message()
        .await
        .unwrap_err();
    let mut answer = served
        .client()
        .await
        .do_exchange(futures::stream::iter(sent))
        .await
        .unwrap()
        .into_inner();
    answer.message().await.unwrap().unwrap();
    answer.message().await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_bytes_and_a_schema_without_fields_are_refused() {
    let served = serve().await;
    for bytes in [[0_u8; 8], [255; 8], [4, 0, 0, 0, 0, 0, 0, 0]] {
        assert_status(
            &refused_header(&served, &bytes).await,
            Code::InvalidArgument,
            &["too few for a message"],
        );
    }
    let mut builder = flatbuffers::FlatBufferBuilder::new();
    let schema = arrow_ipc::SchemaBuilder::new(&mut builder).finish();
    let mut message = arrow_ipc::MessageBuilder::new(&mut builder);
    message.add_version(arrow_ipc::MetadataVersion::V5);
    message.add_header_type(arrow_ipc::MessageHeader::Schema);
    message.add_header(schema.as_union_value());
    let message = message.finish();
    builder.finish(message, None);
    let status = refused_header(&served, builder.finished_data()).await;
    assert_status(&status, Code::InvalidArgument, &["no list of fields"]);
    served.stop().await;
}

/// Bytes that are no gRPC message at all, sent beneath the client.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_message_are_the_clients_mistake() {
    let served = serve().await;
    let mut grpc = tonic::client::Grpc::new(served.channel().await);
    for (bytes, method) in [
        (&[0xff_u8, 0xff, 0xff][..], "DoGet"),
        (&[0x0a, 0x7f, 1], "GetFlightInfo"),
        (&[0x0a, 0x7f, 1], "DoPut"),
        (&[0x0a, 0x7f, 1], "DoExchange"),
        (&[0x0f], "DoAction"),
    ] {
        grpc.ready().await.unwrap();
        let path = format!("/arrow.flight.protocol.FlightService/{method}");
        let path = tonic::codegen::http::uri::PathAndQuery::try_from(path).unwrap();
        let request = tonic::Request::new(Raw(bytes.to_vec()));
        let answer = grpc.server_streaming(request, path, RawCodec).await;
        let status = match answer {
            Err(status) => status,
            Ok(answer) => answer.into_inner().message().await.unwrap_err(),
        };
        assert_status(&status, Code::InvalidArgument, &["P702"]);
    }
    served.stop().await;
}

#[derive(Debug)]
struct Raw(Vec<u8>);

#[derive(Clone, Default)]
struct RawCodec;

impl tonic::codec::Codec for RawCodec {
    type Encode = Raw;
    type Decode = Raw;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl tonic::codec::Encoder for RawCodec {
    type Item = Raw;
    type Error = Status;

    fn encode(&mut self, item: Raw, into: &mut tonic::codec::EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(into, &item.0);
        Ok(())
    }
}

impl tonic::codec::Decoder for RawCodec {
    type Item = Raw;
    type Error = Status;

    fn decode(&mut self, from: &mut tonic::codec::DecodeBuf<'_>) -> Result<Option<Raw>, Status> {
        let n = bytes::Buf::remaining(from);
        Ok(Some(Raw(bytes::Buf::copy_to_bytes(from, n).to_vec())))
    }
}
