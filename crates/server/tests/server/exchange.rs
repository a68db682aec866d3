//! DoExchange of online features: the open stream.

use arrow_flight::FlightData;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Streaming};

use crate::support::*;

/// An open stream, its command sent.
pub struct Open {
    pub send: mpsc::UnboundedSender<FlightData>,
    pub answers: Streaming<FlightData>,
}

impl Open {
    pub async fn new(client: &mut Client, command: &Value) -> Self {
        let (send, receive) = mpsc::unbounded_channel();
        // The answer's headers come before anything is sent.
        let answers = client
            .do_exchange(UnboundedReceiverStream::new(receive))
            .await
            .unwrap()
            .into_inner();
        let first = FlightData {
            flight_descriptor: Some(descriptor(command)),
            ..FlightData::default()
        };
        send.send(first).unwrap();
        Self { send, answers }
    }

    pub async fn metadata(&mut self) -> Option<Value> {
        let message = self.answers.message().await.unwrap()?;
        Some(serde_json::from_slice(&message.app_metadata).unwrap_or(Value::Null))
    }
}

fn plain() -> Value {
    json!({"op": "online", "service": "plain"})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_sent_before_any_input_and_answers_are_numbered() {
    let served = serve().await;
    let mut open = Open::new(&mut served.client().await, &plain()).await;
    let schema = open.answers.message().await.unwrap().unwrap();
    assert!(!schema.data_header.is_empty());
    let sent = messages(
        &plain(),
        vec![
            keys(&["JFK", "LGA"]),
            keys(&["EWR"]),
            keys(&["x"]).slice(0, 0),
        ],
    )
    .await;
    assert_eq!(
        sent.len(),
        3,
        "the stock encoder sends nothing for zero rows"
    );
    open.send.send(sent[0].clone()).unwrap();
    for (seq, rows) in [(1, 2), (2, 1)] {
        open.send.send(sent[seq].clone()).unwrap();
        let last = open.metadata().await.unwrap();
        assert_eq!(last, json!({"seq": seq - 1, "rows": rows}));
    }
    let mut empty = provender_server::wire::Encoder::new(1 << 20);
    let empty = empty.batch(&keys(&["x"]).slice(0, 0)).unwrap();
    open.send.send(empty[0].clone()).unwrap();
    let message = open.answers.message().await.unwrap().unwrap();
    assert!(!message.data_header.is_empty());
    assert_eq!(&message.app_metadata[..], b"{\"seq\":2,\"rows\":0}");
    let Open { send, mut answers } = open;
    drop(send);
    assert!(answers.message().await.unwrap().is_none());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_come_in_any_order_and_of_types_that_can_be_read() {
    let served = serve().await;
    let command = json!({"op": "online", "service": "model"});
    let input = batch(&[
        ("humidity", ints(&[2, 3])),
        ("origin", strings(&["JFK", "LGA"])),
    ]);
    let large = arrow_cast::cast(input.column(1), &arrow_schema::DataType::LargeUtf8).unwrap();
    let input = batch(&[("humidity", input.column(0).clone()), ("origin", large)]);
    let rows = served.exchange(command.clone(), vec![input]).await.unwrap();
    assert_eq!(text(&rows[0], "mugginess"), ["40.0", "75.0"]);
    assert_eq!(
        rows[0].schema().field(0).data_type(),
        &arrow_schema::DataType::Utf8
    );
    for (input, texts) in [
        (batch(&[("origin", strings(&["JFK"]))]), vec!["humidity"]),
        (
            batch(&[
                ("origin", strings(&["JFK"])),
                ("humidity", floats(&[1.0])),
                ("x", ints(&[1])),
            ]),
            vec!["\"x\""],
        ),
        (
            batch(&[("origin", floats(&[1.0])), ("humidity", floats(&[1.0]))]),
            vec!["origin"],
        ),
    ] {
        let status = served
            .exchange(command.clone(), vec![input])
            .await
            .unwrap_err();
        assert_status(&status, Code::InvalidArgument, &texts);
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_belong_in_a_stream_ends_it() {
    let served = serve().await;
    let sent = messages(&plain(), vec![keys(&["JFK"])]).await;
    for (order, text) in [
        (vec![0, 0], "second schema"),
        (vec![1], "before the schema"),
    ] {
        let mut open = Open::new(&mut served.client().await, &plain()).await;
        for at in order {
            open.send.send(sent[at].clone()).unwrap();
        }
        open.answers.message().await.unwrap().unwrap();
        let status = open.answers.message().await.unwrap_err();
        assert_status(&status, Code::InvalidArgument, &[text, "P702"]);
    }
    for (command, texts) in [
        (
            online("plain", json!({"origin": []})),
            vec!["\"entities\" does not go with DoExchange"],
        ),
        (
            json!({"op": "read", "view": "season"}),
            vec!["\"online\" and \"historical\""],
        ),
        (
            json!({"op": "historical", "service": "plain", "spine": {"table": "x"}}),
            vec!["\"spine\" does not go"],
        ),
    ] {
        let status = served
            .exchange(command, vec![keys(&["JFK"])])
            .await
            .unwrap_err();
        assert_status(&status, Code::InvalidArgument, &texts);
    }
    let mut client = served.client().await;
    for (first, text) in [
        (None, "ended before its first message"),
        (Some(FlightData::default()), "no descriptor"),
        (
            Some(FlightData {
                flight_descriptor: Some(arrow_flight::FlightDescriptor::new_path(vec![
                    "flights".into(),
                    "plain".into(),
                ])),
                ..FlightData::default()
            }),
            "takes a command",
        ),
    ] {
        let mut answer = client
            .do_exchange(futures::stream::iter(first))
            .await
            .unwrap()
            .into_inner();
        assert_status(
            &answer.message().await.unwrap_err(),
            Code::InvalidArgument,
            &[text],
        );
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_batches_are_answered_in_parts_that_belong_together() {
    let served = serve().await;
    let n = 150_000;
    let input = spine(n).project(&[1]).unwrap();
    let sent = messages(&plain(), vec![input]).await;
    let n_batches = sent.len() - 1;
    let mut answers = served
        .client()
        .await
        .do_exchange(futures::stream::iter(sent))
        .await
        .unwrap()
        .into_inner();
    answers.message().await.unwrap().unwrap();
    let (mut n_messages, mut ends) = (0, Vec::new());
    while let Some(message) = answers.message().await.unwrap() {
        n_messages += 1;
        assert!(message.data_body.len() + message.data_header.len() < 4 << 20);
        if !message.app_metadata.is_empty() {
            ends.push(serde_json::from_slice::<Value>(&message.app_metadata).unwrap());
        }
    }
    assert_eq!(ends.len(), n_batches);
    assert!(n_messages > n_batches);
    let rows: u64 = ends.iter().map(|end| end["rows"].as_u64().unwrap()).sum();
    assert_eq!(rows, n as u64);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_at_once_each_get_their_own_answers() {
    let served = serve().await;
    let (one, other) = (served.client().await, served.client().await);
    let streams = (0..64).map(|number| {
        let mut client = if number % 2 == 0 {
            one.clone()
        } else {
            other.clone()
        };
        tokio::spawn(async move {
            let mut open = Open::new(&mut client, &plain()).await;
            let key = format!("k{number}");
            let sent = messages(&plain(), vec![keys(&[&key, "JFK"])]).await;
            open.send.send(sent[0].clone()).unwrap();
            let schema = open.answers.message().await.unwrap().unwrap();
            for seq in 0..20 {
                open.send.send(sent[1].clone()).unwrap();
                let message = open.answers.message().await.unwrap().unwrap();
                let end: Value = serde_json::from_slice(&message.app_metadata).unwrap();
                assert_eq!(end, json!({"seq": seq, "rows": 2}));
                let read = futures::stream::iter([Ok(schema.clone()), Ok(message)]);
                let rows = batches_of(read).await.unwrap();
                assert_eq!(text(&rows[0], "origin"), [key.as_str(), "JFK"]);
                assert_eq!(text(&rows[0], "temp"), ["-", "20.0"]);
            }
        })
    });
    let ended: Vec<_> = futures::stream::iter(streams)
        .buffer_unordered(64)
        .collect()
        .await;
    assert!(ended.into_iter().all(|stream| stream.is_ok()));
    served.until("provender_calls_at_work", 0.0).await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_stream_follows_online_data_and_definitions() {
    let served = serve().await;
    let mut open = Open::new(&mut served.client().await, &plain()).await;
    let sent = messages(&plain(), vec![keys(&["JFK"])]).await;
    let schema = open.answers.message().await.unwrap().unwrap();
    open.send.send(sent[0].clone()).unwrap();
    let mut read = async |sent: &FlightData| {
        open.send.send(sent.clone()).unwrap();
        let message = open.answers.message().await.unwrap().unwrap();
        let rows = batches_of(futures::stream::iter([Ok(schema.clone()), Ok(message)])).await;
        text(&rows.unwrap()[0], "alt")[0].clone()
    };
    assert_eq!(read(&sent[1]).await, "13");
    // A second version of the facts, with the same columns.
    let definitions = DEFINITIONS.replace(
        "{name: alt, type: int64}",
        "{name: alt, type: int64, column: height}",
    );
    let facts = batch(&[
        ("faa", strings(&["JFK"])),
        ("known_at", hours_ago(&[9])),
        ("alt", ints(&[13])),
        ("height", ints(&[77])),
    ]);
    let write = provender_core::request::OfflineWrite {
        table: "airports".to_owned(),
        mode: provender_core::request::WriteMode::Overwrite,
        partition_by: Vec::new(),
        id: None,
    };
    let rows = provender_conformance::Table::of(facts).stream();
    use provender_core::provider::OfflineStore;
    served.offline.write(&served.cx, write, rows).await.unwrap();
    served
        .act(
            "apply",
            json!({"files": {"features/all.yaml": definitions}}),
        )
        .await
        .unwrap();
    assert_eq!(
        read(&sent[1]).await,
        "13",
        "the new version holds no data yet"
    );
    let end = now_us();
    served
        .act(
            "materialize",
            json!({"start": 0, "end": end, "views": ["airport_facts", "airport_weather"]}),
        )
        .await
        .unwrap();
    assert_eq!(read(&sent[1]).await, "77");
    let rows = served
        .get(online("plain", json!({"origin": ["JFK"]})))
        .await
        .unwrap();
    assert_eq!(text(&rows, "alt"), ["77"]);
    served.stop().await;
}
