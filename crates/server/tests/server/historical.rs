//! Training rows over every kind of spine.

use arrow_flight::FlightData;
use futures::StreamExt;
use serde_json::json;
use tonic::Code;

use crate::support::*;

fn command() -> serde_json::Value {
    json!({"op": "historical", "service": "plain", "timestamp": "time_hour"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_spine_comes_back_in_order_with_its_features() {
    let served = serve().await;
    let input = spine(10);
    let batches = vec![input.slice(0, 4), input.slice(4, 6)];
    let rows = together(&served.exchange(command(), batches).await.unwrap());
    assert_eq!(
        names(&rows),
        ["label", "origin", "time_hour", "temp", "wind", "alt"]
    );
    assert_eq!(rows.column(0), input.column(0));
    assert_eq!(rows.column(2), input.column(2));
    assert_eq!(text(&rows, "alt")[..3], ["13", "21", "18"]);
    assert!(text(&rows, "temp").iter().any(|temp| temp == "20.0"));
    // The only timestamp column is found without being named.
    let unnamed =
        json!({"op": "historical", "features": ["airport_facts"], "full_feature_names": true});
    let rows = served.exchange(unnamed, vec![input]).await.unwrap();
    assert_eq!(names(&rows[0])[3..], ["airport_facts__alt"]);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_follows_the_spines_schema_and_no_rows_are_no_rows() {
    let served = serve().await;
    let empty = spine(0);
    let sent = messages(&command(), vec![empty]).await;
    let mut answers = served
        .client()
        .await
        .do_exchange(futures::stream::iter(sent[..1].to_vec()).chain(futures::stream::pending()))
        .await
        .unwrap()
        .into_inner();
    let schema = answers.message().await.unwrap().unwrap();
    assert!(!schema.data_header.is_empty() && schema.app_metadata.is_empty());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writing_all_before_reading_any_does_not_stall() {
    let served = Setup {
        memory: 16 << 20,
        ..Setup::default()
    }
    .serve()
    .await;
    let n = 300_000;
    let sent = messages(&command(), vec![spine(n)]).await;
    let (send, receive) = tokio::sync::mpsc::channel::<FlightData>(1);
    let mut client = served.client().await;
    let input = tokio_stream::wrappers::ReceiverStream::new(receive);
    let mut answers = client.do_exchange(input).await.unwrap().into_inner();
    for message in sent {
        send.send(message).await.unwrap();
    }
    drop(send);
    let mut messages = Vec::new();
    while let Some(message) = answers.message().await.unwrap() {
        assert!(message.app_metadata.is_empty());
        messages.push(Ok(message));
    }
    let rows = together(&batches_of(futures::stream::iter(messages)).await.unwrap());
    assert_eq!(rows.num_rows(), n);
    assert_eq!(rows.column(0).as_ref(), spine(n).column(0).as_ref());
    served.until("provender_held_bytes", 0.0).await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_is_used_once() {
    let served = serve().await;
    let put = served
        .put(json!({"op": "spine"}), vec![spine(5), spine(4)])
        .await
        .unwrap();
    assert_eq!(put.len(), 1);
    assert_eq!(put[0]["rows"], 9);
    let handle = put[0]["handle"].as_str().unwrap();
    assert_eq!(handle.len(), 32);
    let mut get = command();
    get["spine"] = json!({"handle": handle});
    let info = served
        .client()
        .await
        .get_flight_info(descriptor(&get))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        info.endpoint.len(),
        1,
        "asking for columns does not use the spine"
    );
    let mut mistaken = get.clone();
    mistaken["timestamp"] = json!("hour");
    assert_status(
        &served.refused(mistaken).await,
        Code::InvalidArgument,
        &["hour"],
    );
    let rows = served.get(get.clone()).await.unwrap();
    assert_eq!((rows.num_rows(), names(&rows).len()), (9, 6));
    assert_status(
        &served.refused(get).await,
        Code::NotFound,
        &["names no spine", "put the spine again"],
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spines_of_the_offline_store_need_no_rows_of_the_client() {
    let served = serve().await;
    for spine in [
        json!({"table": "labels"}),
        json!({"sql": "SELECT * FROM labels"}),
    ] {
        // The time column is found as on the command line.
        let rows = served
            .get(json!({"op": "historical", "service": "plain", "spine": spine}))
            .await
            .unwrap();
        assert_eq!(
            names(&rows),
            ["origin", "event_timestamp", "temp", "wind", "alt"]
        );
        assert_eq!(text(&rows, "alt"), ["21", "13"]);
    }
    let both =
        json!({"op": "historical", "service": "plain", "spine": {"table": "labels", "sql": "x"}});
    served.refused(both).await;
    let missing = json!({"op": "historical", "service": "plain", "spine": {"table": "label"}});
    assert_status(&served.refused(missing).await, Code::NotFound, &["label"]);
    let known = json!({"op": "historical", "service": "plain", "spine": {"table": "labels"}, "as_known": true});
    assert_status(
        &served.refused(known).await,
        Code::InvalidArgument,
        &["P405"],
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spines_that_do_not_fit_are_told_before_rows() {
    let served = serve().await;
    let without = spine(3).project(&[0, 2]).unwrap();
    let status = served.exchange(command(), vec![without]).await.unwrap_err();
    assert_status(&status, Code::InvalidArgument, &["origin", "P402"]);
    let mut other = command();
    other["timestamp"] = json!("hour");
    let status = served.exchange(other, vec![spine(3)]).await.unwrap_err();
    assert_status(&status, Code::InvalidArgument, &["hour"]);
    served.stop().await;
}
