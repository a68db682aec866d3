//! What is refused at once, and what it says.

use futures::StreamExt;
use provender_server::Limits;
use serde_json::json;
use tonic::Code;

use crate::exchange::Open;
use crate::support::*;

fn limited(change: impl FnOnce(&mut Limits)) -> Setup {
    let mut setup = Setup::default();
    change(&mut setup.limits);
    setup
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_the_limit_are_refused_until_one_ends() {
    let served = limited(|limits| limits.max_calls = 3).serve().await;
    let command = json!({"op": "online", "service": "plain"});
    let mut client = served.client().await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = Open::new(&mut client, &command).await;
        stream.answers.message().await.unwrap();
        open.push(stream);
    }
    let status = served.refused(online("plain", json!({"origin": []}))).await;
    assert_status(
        &status,
        Code::ResourceExhausted,
        &["3 calls", "server.max_calls", "P701", "again"],
    );
    let retryable = status.metadata().get("provender-retryable").unwrap();
    assert_eq!(retryable, "true");
    open.pop();
    until("a place is free", || async {
        served
            .get(online("plain", json!({"origin": []})))
            .await
            .is_ok()
    })
    .await;
    drop(open);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn historical_calls_beyond_the_limit_are_refused_and_reads_are_not() {
    let served = limited(|limits| limits.max_background_calls = 1)
        .serve()
        .await;
    let command = json!({"op": "historical", "service": "plain", "timestamp": "time_hour"});
    let mut client = served.client().await;
    let mut busy = Open::new(&mut client, &command).await;
    let sent = messages(&command, vec![spine(1)]).await;
    busy.send.send(sent[0].clone()).unwrap();
    busy.answers.message().await.unwrap().unwrap();
    let push = json!({"op": "push", "view": "season", "to": "offline"});
    let row = batch(&[("since", hours_ago(&[1])), ("name", strings(&["winter"]))]);
    for status in [
        served
            .exchange(command.clone(), vec![spine(1)])
            .await
            .unwrap_err(),
        served
            .refused(json!({"op": "read", "view": "airport_facts"}))
            .await,
        served
            .put(json!({"op": "spine"}), vec![spine(1)])
            .await
            .unwrap_err(),
        served.act("materialize", json!({})).await.unwrap_err(),
        served.put(push, vec![row.clone()]).await.unwrap_err(),
    ] {
        assert_status(
            &status,
            Code::ResourceExhausted,
            &["1 historical calls", "server.max_background_calls"],
        );
    }
    served
        .get(online("plain", json!({"origin": ["JFK"]})))
        .await
        .unwrap();
    served
        .put(
            json!({"op": "push", "view": "season", "to": "online"}),
            vec![row],
        )
        .await
        .unwrap();
    let Open { send, mut answers } = busy;
    drop(send);
    assert!(answers.message().await.unwrap().is_none());
    until("the place is free", || async {
        served
            .get(json!({"op": "read", "view": "airport_facts"}))
            .await
            .is_ok()
    })
    .await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_beyond_the_limit_are_refused() {
    let served = limited(|limits| limits.max_bytes = 1 << 20).serve().await;
    let command = json!({"op": "push", "view": "airport_facts", "to": "offline"});
    let n = 60_000;
    let rows = batch(&[
        ("origin", spine(n).column(1).clone()),
        ("known_at", spine(n).column(2).clone()),
        ("alt", ints(&vec![1; n])),
    ]);
    let status = served.put(command, vec![rows]).await.unwrap_err();
    assert_status(
        &status,
        Code::ResourceExhausted,
        &["1048576 (server.max_bytes)", "P701"],
    );
    let keys: Vec<String> = (0..200_000).map(|key| format!("key {key}")).collect();
    let status = served
        .refused(online("plain", json!({"origin": keys})))
        .await;
    assert_status(&status, Code::ResourceExhausted, &["server.max_bytes"]);
    served.until("provender_held_bytes", 0.0).await;
    served
        .get(online("plain", json!({"origin": ["JFK"]})))
        .await
        .unwrap();
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_bounded_both_ways() {
    let served = limited(|limits| {
        limits.wire.max_sent_bytes = 64 << 10;
        limits.max_received_bytes = 1 << 20;
    })
    .serve()
    .await;
    let long = "x".repeat(200_000);
    let rows = batch(&[("since", hours_ago(&[0])), ("name", strings(&[&long]))]);
    served
        .put(
            json!({"op": "push", "view": "season", "to": "online"}),
            vec![rows],
        )
        .await
        .unwrap();
    let status = served.refused(online("global", json!({}))).await;
    assert_status(
        &status,
        Code::ResourceExhausted,
        &["one row takes", "at most 65536", "server.max_message_bytes"],
    );
    let sent = messages(&json!({"op": "spine"}), vec![spine(100_000)]).await;
    let mut client = served.client().await.max_encoding_message_size(64 << 20);
    let large = arrow_flight::FlightData {
        data_body: vec![0; 2 << 20].into(),
        ..sent[1].clone()
    };
    let input = futures::stream::iter([sent[0].clone(), large]);
    let mut answer = client.do_put(input).await.unwrap().into_inner();
    let status = answer.next().await.unwrap().unwrap_err();
    assert_status(&status, Code::ResourceExhausted, &["too large", "P703"]);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_are_told_what_is_left_of_the_memory_for_a_call() {
    let setup = Setup {
        memory: 64 << 20,
        ..limited(|limits| limits.max_background_calls = 4)
    };
    let served = setup.serve().await;
    let historical = json!({"op": "historical", "service": "plain", "timestamp": "time_hour"});
    let row = batch(&[("since", hours_ago(&[1])), ("name", strings(&["winter"]))]);
    let told = || std::mem::take(&mut *served.offline.memory.lock().unwrap());
    told();
    // One call alone has much, and leaves something for others.
    let much = (64 << 20) * 2 / 3;
    served
        .exchange(historical.clone(), vec![spine(1)])
        .await
        .unwrap();
    served
        .get(json!({"op": "read", "view": "airport_facts"}))
        .await
        .unwrap();
    let push = json!({"op": "push", "view": "season", "to": "offline"});
    served.put(push.clone(), vec![row.clone()]).await.unwrap();
    served.act("materialize", json!({})).await.unwrap();
    let alone = told();
    assert!(alone.len() >= 4, "{alone:?}");
    assert!(alone.iter().all(|n| (1..=much).contains(n)), "{alone:?}");

    // Beside another that keeps its share there is less.
    let mut busy = Open::new(&mut served.client().await, &historical).await;
    let sent = messages(&historical, vec![spine(1)]).await;
    busy.send.send(sent[0].clone()).unwrap();
    busy.answers.message().await.unwrap().unwrap();
    served.put(push, vec![row]).await.unwrap();
    let beside = told();
    assert!(
        beside.last().unwrap() < alone.iter().max().unwrap(),
        "{beside:?}, {alone:?}"
    );
    drop(busy);
    served.until("provender_calls_at_work", 0.0).await;
    served.stop().await;
}
