//! Clients that do not read.

use serde_json::json;

use crate::exchange::Open;
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_nobody_reads_hold_little_and_stop_nobody() {
    if !is_alone("slow::streams_that_nobody_reads_hold_little_and_stop_nobody") {
        return;
    }
    let served = serve().await;
    let command = json!({"op": "online", "service": "plain", "status": true});
    let sent = messages(&command, vec![spine(2_000).project(&[1]).unwrap()]).await;
    // Their connections live on threads of their own, and end with them, in the middle of everything.
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let address = served.address;
    let (asked, first) = (command.clone(), sent.clone());
    let open = threads
        .spawn(async move {
            let mut clients = Vec::new();
            for _ in 0..10 {
                clients.push(connect(address).await);
            }
            let mut open = Vec::new();
            for number in 0..199 {
                let stream = Open::new(&mut clients[number % 10], &asked).await;
                for message in &first {
                    stream.send.send(message.clone()).unwrap();
                }
                open.push(stream);
            }
            open
        })
        .await
        .unwrap();
    // It has a connection of its own: on those of others its client has no room for more.
    let mut one = Open::new(&mut served.client().await, &command).await;
    for message in &sent {
        one.send.send(message.clone()).unwrap();
    }
    served.until("provender_calls_at_work", 200.0).await;
    let before = rss();
    // Each stream is sent answers of over 20 MB, which nobody takes.
    for stream in open.iter().chain([&one]) {
        for _ in 0..100 {
            stream.send.send(sent[1].clone()).unwrap();
        }
    }
    let mut most = 0.0_f64;
    for _ in 0..20 {
        served
            .get(online("plain", json!({"origin": ["JFK"]})))
            .await
            .unwrap();
        most = most.max(served.metric("provender_held_bytes").await);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let grown = rss().saturating_sub(before);
    println!("{grown} MiB more, {most} bytes held at most");
    assert!(grown < 250, "{grown} MiB more");
    assert!(most < 64e6, "{most} bytes are held");
    // They are only slow: each answers all it was sent once it is read.
    let mut last = json!(null);
    drop(one.send);
    while let Some(message) = one.answers.message().await.unwrap() {
        if !message.app_metadata.is_empty() {
            last = serde_json::from_slice(&message.app_metadata).unwrap();
        }
    }
    assert_eq!(last, json!({"seq": 100, "rows": 2000}));
    threads.shutdown_background();
    drop(open);
    served.until("provender_calls_at_work", 0.0).await;
    served.until("provender_held_bytes", 0.0).await;
    served.stop().await;
}
