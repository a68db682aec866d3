//! What the server counts.

use serde_json::json;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn answers_and_failures_of_every_verb_are_counted() {
    let served = serve().await;
    served
        .get(online("plain", json!({"origin": ["JFK", "LGA"]})))
        .await
        .unwrap();
    served
        .exchange(
            json!({"op": "online", "service": "plain"}),
            vec![keys(&["JFK"])],
        )
        .await
        .unwrap();
    served
        .exchange(
            json!({"op": "historical", "service": "plain", "timestamp": "time_hour"}),
            vec![spine(5)],
        )
        .await
        .unwrap();
    served
        .get(json!({"op": "read", "view": "airport_facts"}))
        .await
        .unwrap();
    served
        .put(json!({"op": "spine"}), vec![spine(4)])
        .await
        .unwrap();
    let rows = batch(&[("since", hours_ago(&[1])), ("name", strings(&["winter"]))]);
    served
        .put(
            json!({"op": "push", "view": "season", "to": "both"}),
            vec![rows],
        )
        .await
        .unwrap();
    // One failure of each, after the stream has begun where it can be.
    let mut twice = messages(
        &json!({"op": "online", "service": "plain"}),
        vec![keys(&["JFK"])],
    )
    .await;
    twice.push(twice[0].clone());
    let answer = served
        .client()
        .await
        .do_exchange(futures::stream::iter(twice))
        .await
        .unwrap();
    batches_of(answer.into_inner()).await.unwrap_err();
    served.refused(json!({"op": "read", "view": "x"})).await;
    served.refused(json!({"op": "x"})).await;
    served
        .act("describe", json!({"name": "x"}))
        .await
        .unwrap_err();
    served
        .put(
            json!({"op": "push", "view": "season", "to": "both"}),
            vec![spine(1)],
        )
        .await
        .unwrap_err();
    served
        .exchange(
            json!({"op": "historical", "service": "plain"}),
            vec![keys(&["JFK"])],
        )
        .await
        .unwrap_err();
    served.until("provender_calls_at_work", 0.0).await;

    let text = served.metrics().await;
    assert!(text.contains("application/openmetrics-text"), "{text}");
    assert!(text.trim_end().ends_with("# EOF"));
    for (series, value) in [
        (
            "provender_answered_rows_total{operation=\"online\",service=\"plain\",store=\"memory\"}",
            4.0,
        ),
        (
            "provender_answered_rows_total{operation=\"historical\",service=\"plain\",store=\"memory\"}",
            5.0,
        ),
        (
            "provender_answered_rows_total{operation=\"read\",service=\"\",store=\"memory\"}",
            3.0,
        ),
        (
            "provender_answered_rows_total{operation=\"spine\",service=\"\",store=\"\"}",
            4.0,
        ),
        (
            "provender_answered_rows_total{operation=\"push\",service=\"\",store=\"memory,memory\"}",
            1.0,
        ),
        (
            "provender_answer_duration_seconds_count{operation=\"online\",service=\"plain\",store=\"memory\"}",
            3.0,
        ),
        (
            "provender_answer_size_bytes_count{operation=\"online\",service=\"plain\",store=\"memory\"}",
            3.0,
        ),
        (
            "provender_errors_total{operation=\"online\",kind=\"invalid_argument\",code=\"P702\"}",
            1.0,
        ),
        (
            "provender_errors_total{operation=\"read\",kind=\"not_found\",code=\"P401\"}",
            1.0,
        ),
        (
            "provender_errors_total{operation=\"other\",kind=\"invalid_argument\",code=\"P406\"}",
            1.0,
        ),
        (
            "provender_errors_total{operation=\"action\",kind=\"not_found\",code=\"P401\"}",
            1.0,
        ),
        (
            "provender_errors_total{operation=\"push\",kind=\"invalid_argument\",code=\"P406\"}",
            1.0,
        ),
        (
            "provender_errors_total{operation=\"historical\",kind=\"invalid_argument\",code=",
            1.0,
        ),
        ("provender_held_bytes", 0.0),
    ] {
        let found = text.lines().find(|line| line.starts_with(series));
        let found = found.unwrap_or_else(|| panic!("no {series} in\n{text}"));
        let number: f64 = found.rsplit(' ').next().unwrap().parse().unwrap();
        assert!((number - value).abs() < 0.1, "{found}");
    }
    assert!(
        text.contains("provender_view_freshness_seconds{view=\"airport_facts\",version=\"1\"}")
    );
    served.stop().await;
}
