//! DoPut of rows for a view's stores.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tonic::Code;

use crate::exchange::Open;
use crate::support::*;

fn rows(origin: &str, temp: f64) -> arrow_array::RecordBatch {
    batch(&[
        ("time", hours_ago(&[0])),
        ("origin", strings(&[origin])),
        ("temp", floats(&[temp])),
        ("wind", ints(&[7])),
    ])
}

fn push(to: &str, id: Option<&str>) -> serde_json::Value {
    json!({"op": "push", "view": "airport_weather", "to": to, "id": id})
}

async fn temp_of(served: &Served, origin: &str) -> String {
    let rows = served
        .get(online("plain", json!({"origin": [origin]})))
        .await
        .unwrap();
    text(&rows, "temp")[0].clone()
}

fn n_offline(served: &Served) -> usize {
    served.offline.inner.tables()["weather"].n_rows()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_batch_is_acknowledged_wherever_it_goes() {
    let served = serve().await;
    for (to, online, offline) in [
        ("online", true, 0),
        ("offline", false, 2),
        ("both", true, 2),
    ] {
        let before = n_offline(&served);
        let origin = format!("to_{to}");
        let put = served
            .put(push(to, None), vec![rows(&origin, 1.0), rows("other", 2.0)])
            .await
            .unwrap();
        assert_eq!(put, [json!({"rows": 1}), json!({"rows": 1})], "{to}");
        assert_eq!(n_offline(&served) - before, offline, "{to}");
        let expected = if online { "1.0" } else { "-" };
        assert_eq!(temp_of(&served, &origin).await, expected, "{to}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_with_an_id_counts_once() {
    let served = serve().await;
    let batches = || vec![rows("a", 1.0), rows("b", 2.0)];
    let before = n_offline(&served);
    for _ in 0..3 {
        let put = served
            .put(push("both", Some("run 7")), batches())
            .await
            .unwrap();
        assert_eq!(put.len(), 2);
    }
    assert_eq!(n_offline(&served) - before, 2);
    served
        .put(push("offline", Some("run 8")), batches())
        .await
        .unwrap();
    assert_eq!(n_offline(&served) - before, 4);
    served.put(push("offline", None), batches()).await.unwrap();
    served.put(push("offline", None), batches()).await.unwrap();
    assert_eq!(n_offline(&served) - before, 8);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_acknowledged_once_they_are_committed_together() {
    let served = serve().await;
    *served.offline.write_delay.lock().unwrap() = Duration::from_millis(50);
    let command = push("offline", None);
    let sent = messages(&command, vec![rows("a", 1.0); 20]).await;
    let (send, receive) = tokio::sync::mpsc::unbounded_channel();
    let mut client = served.client().await;
    let input = tokio_stream::wrappers::UnboundedReceiverStream::new(receive);
    let mut acknowledged = client.do_put(input).await.unwrap().into_inner();
    let before = n_offline(&served);
    for message in sent {
        send.send(message).unwrap();
    }
    // The stream stays open: a second passes, and all of them are one commit.
    for _ in 0..20 {
        acknowledged.message().await.unwrap().unwrap();
        assert!(served.offline.n_writes.load(Ordering::SeqCst) >= 1);
    }
    assert_eq!(n_offline(&served) - before, 20);
    assert!(served.offline.n_writes.load(Ordering::SeqCst) <= 3);
    drop(send);
    assert!(acknowledged.message().await.unwrap().is_none());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_before_a_mistake_are_written_and_those_after_are_not() {
    let served = serve().await;
    let command = push("offline", None);
    let mut sent = messages(&command, vec![rows("a", 1.0)]).await;
    sent.push(sent[0].clone());
    let before = n_offline(&served);
    let mut put = served
        .client()
        .await
        .do_put(futures::stream::iter(sent))
        .await
        .unwrap()
        .into_inner();
    let first = put.message().await.unwrap().unwrap();
    assert_eq!(&first.app_metadata[..], b"{\"rows\":1}");
    assert_status(
        &put.message().await.unwrap_err(),
        Code::InvalidArgument,
        &["second schema"],
    );
    assert_eq!(n_offline(&served) - before, 1);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_that_do_not_fit_name_what_is_wrong() {
    let served = serve().await;
    let whole = rows("a", 1.0);
    for (command, batch, code, texts) in [
        (
            push("both", None),
            whole.project(&[0, 1, 2]).unwrap(),
            Code::InvalidArgument,
            vec!["wind"],
        ),
        (
            push("nowhere", None),
            whole.clone(),
            Code::InvalidArgument,
            vec!["to", "online"],
        ),
        (
            json!({"op": "push", "view": "airport_weather"}),
            whole.clone(),
            Code::InvalidArgument,
            vec!["to"],
        ),
        (
            json!({"op": "push", "view": "airport_wether", "to": "online"}),
            whole.clone(),
            Code::NotFound,
            vec!["airport_weather"],
        ),
        (
            online("plain", json!({})),
            whole.clone(),
            Code::InvalidArgument,
            vec!["\"push\" and \"spine\""],
        ),
    ] {
        let status = served.put(command, vec![batch]).await.unwrap_err();
        assert_status(&status, code, &texts);
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_is_read_at_once_by_open_streams() {
    let served = serve().await;
    let command = json!({"op": "online", "service": "plain"});
    let mut open = Open::new(&mut served.client().await, &command).await;
    let sent = messages(&command, vec![keys(&["fresh"])]).await;
    let schema = open.answers.message().await.unwrap().unwrap();
    open.send.send(sent[0].clone()).unwrap();
    served
        .put(push("online", None), vec![rows("fresh", 3.0)])
        .await
        .unwrap();
    open.send.send(sent[1].clone()).unwrap();
    let message = open.answers.message().await.unwrap().unwrap();
    let read = batches_of(futures::stream::iter([Ok(schema), Ok(message)]))
        .await
        .unwrap();
    assert_eq!(text(&read[0], "temp"), ["3.0"]);
    served.stop().await;
}
