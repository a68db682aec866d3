//! How a server stops.

use std::time::Duration;

use serde_json::json;
use tonic::Code;

use crate::exchange::Open;
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn calls_at_work_end_and_idle_streams_are_let_go() {
    let mut served = serve().await;
    let exchange = json!({"op": "online", "service": "plain"});
    let historical = json!({"op": "historical", "service": "plain", "timestamp": "time_hour"});
    let mut client = served.client().await;
    let mut idle = Open::new(&mut client, &exchange).await;
    idle.answers.message().await.unwrap().unwrap();
    // A spine that is on its way when the server is asked to stop.
    let mut busy = Open::new(&mut client, &historical).await;
    let sent = messages(&historical, vec![spine(3); 6]).await;
    busy.send.send(sent[0].clone()).unwrap();
    busy.answers.message().await.unwrap().unwrap();
    let _ = served.stop.take().unwrap().send(());
    for message in &sent[1..] {
        busy.send.send(message.clone()).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let Open { send, mut answers } = busy;
    drop(send);
    let mut n_messages = 0;
    while answers.message().await.unwrap().is_some() {
        n_messages += 1;
    }
    assert!(n_messages > 0);
    let status = idle.answers.message().await.unwrap_err();
    assert_status(
        &status,
        Code::Unavailable,
        &["the server is stopping", "P708"],
    );
    assert_eq!(
        status.metadata().get("provender-retryable").unwrap(),
        "true"
    );
    // It returns long before its time for calls at work is over, though the connection is open.
    tokio::time::timeout(Duration::from_secs(20), &mut served.serving)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(
        tokio::net::TcpStream::connect(served.address)
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_do_not_end_in_time_are_ended() {
    let mut setup = Setup::default();
    setup.limits.grace = Duration::from_millis(300);
    let mut served = setup.serve().await;
    served.online.delay(
        provender_conformance::memory::OnlineCall::Read,
        Duration::from_secs(60),
    );
    let mut client = served.client().await;
    let command = online("plain", json!({"origin": ["JFK"]}));
    let mut answer = client.do_get(ticket(&command)).await.unwrap().into_inner();
    served.until("provender_calls_at_work", 1.0).await;
    let _ = served.stop.take().unwrap().send(());
    let status = answer.message().await.unwrap_err();
    assert_status(&status, Code::Unavailable, &["the server is stopping"]);
    tokio::time::timeout(Duration::from_secs(20), &mut served.serving)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_ready_at_once_and_restarts_on_its_port() {
    let served = serve().await;
    served.get(online("global", json!({}))).await.unwrap();
    let address = served.address;
    served.stop().await;
    let mut setup = Setup::default();
    setup.config.flight = address.to_string();
    setup.serve().await.stop().await;
}
