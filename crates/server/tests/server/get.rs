//! DoGet of online features and of offline rows.

use provender_store::{OnlineRequest, Selection};
use serde_json::json;
use tonic::Code;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn online_rows_come_in_request_order_with_keys_first() {
    let served = serve().await;
    let command = json!({"op": "online", "service": "model",
        "entities": {"origin": ["LGA", "JFK", "nowhere", "JFK", null]}, "request": {"humidity": 2.0}});
    let rows = served.get(command).await.unwrap();
    assert_eq!(names(&rows), ["origin", "temp", "wind", "alt", "mugginess"]);
    assert_eq!(text(&rows, "origin"), ["LGA", "JFK", "nowhere", "JFK", "-"]);
    assert_eq!(text(&rows, "temp"), ["25.0", "20.0", "-", "20.0", "-"]);
    assert_eq!(text(&rows, "mugginess"), ["50.0", "40.0", "-", "40.0", "-"]);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn online_answers_are_those_of_the_store() {
    let served = serve().await;
    let mut request = OnlineRequest::new(Selection::service("plain").unwrap());
    request.status = true;
    request.full_feature_names = true;
    let query = served
        .store
        .prepare_online(&served.cx, &request)
        .await
        .unwrap();
    let input = keys(&["JFK", "EWR", "x", "LGA"]);
    let bound = query.bind(&input.schema()).unwrap();
    let expected = bound.read(&served.cx, &input).await.unwrap();
    let command = json!({"op": "online", "service": "plain", "status": true, "full_feature_names": true,
        "entities": {"origin": ["JFK", "EWR", "x", "LGA"]}});
    let rows = served.get(command.clone()).await.unwrap();
    assert_eq!(rows.columns(), expected.columns());
    assert_eq!(names(&rows), names(&expected));
    assert_eq!(
        names(&rows)[4..],
        [
            "airport_weather__status",
            "airport_weather__event_timestamp",
            "airport_facts__status",
            "airport_facts__event_timestamp"
        ]
    );
    let mut streamed = command;
    streamed.as_object_mut().unwrap().remove("entities");
    let exchanged = served.exchange(streamed, vec![input]).await.unwrap();
    assert_eq!(exchanged[0].columns(), expected.columns());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn features_aliases_and_mapped_keys_name_the_columns() {
    let served = serve().await;
    let features = json!(["airport_weather:temp",
        {"view": "airport_facts", "as": "dest_facts", "join_keys": {"origin": "dest"}, "features": ["alt"]}]);
    let command = json!({"op": "online", "features": features, "full_feature_names": true,
        "entities": {"origin": ["JFK"], "dest": ["LGA"]}});
    let rows = served.get(command).await.unwrap();
    assert_eq!(
        names(&rows),
        ["origin", "dest", "airport_weather__temp", "dest_facts__alt"]
    );
    assert_eq!(text(&rows, "dest_facts__alt"), ["21"]);
    let rows = served
        .get(
            json!({"op": "online", "service": "both_ends", "full_feature_names": true,
            "entities": {"origin": ["JFK"], "dest": ["EWR"]}}),
        )
        .await
        .unwrap();
    assert_eq!(text(&rows, "dest_facts__alt"), ["18"]);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_rows_have_a_schema_and_global_views_one_row() {
    let served = serve().await;
    let rows = served
        .get(online("plain", json!({"origin": []})))
        .await
        .unwrap();
    assert_eq!((rows.num_rows(), names(&rows).len()), (0, 4));
    for entities in [json!({}), json!(null)] {
        let rows = served.get(online("global", entities)).await.unwrap();
        assert_eq!(text(&rows, "name"), ["autumn"]);
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_name_the_field_and_what_was_expected() {
    let served = serve().await;
    let invalid = Code::InvalidArgument;
    let origin = json!({"origin": ["JFK"]});
    for (command, code, texts) in [
        (
            json!({"op": "onlin"}),
            invalid,
            vec!["no operation \"onlin\"", "online"],
        ),
        (
            json!({"service": "plain"}),
            invalid,
            vec!["no field \"op\"", "send one of online"],
        ),
        (json!({"op": 3}), invalid, vec!["\"op\" is no string"]),
        (json!([1]), invalid, vec!["no JSON object"]),
        (
            json!({"op": "online", "service": "plain", "entitis": {}}),
            invalid,
            vec!["entitis", "unknown field"],
        ),
        (
            json!({"op": "online", "entities": origin}),
            invalid,
            vec!["neither \"service\" nor \"features\""],
        ),
        (
            json!({"op": "online", "service": "s", "features": ["a:b"]}),
            invalid,
            vec!["both \"service\" and \"features\""],
        ),
        (
            json!({"op": "online", "features": []}),
            invalid,
            vec!["\"features\" is empty"],
        ),
        (
            json!({"op": "online", "service": 3}),
            invalid,
            vec!["service", "string"],
        ),
        (
            online("plan", origin.clone()),
            Code::NotFound,
            vec!["plan", "plain"],
        ),
        (
            json!({"op": "online", "features": ["airport_weather:tempp"], "entities": origin}),
            Code::NotFound,
            vec!["tempp", "temp"],
        ),
        (
            online("plain", json!({})),
            invalid,
            vec!["entities.origin (string) is missing"],
        ),
        (
            json!({"op": "online", "service": "plain"}),
            invalid,
            vec!["entities.origin"],
        ),
        (
            online("plain", json!({"origin": "JFK"})),
            invalid,
            vec!["entities.origin is no array"],
        ),
        (
            online("plain", json!({"origin": [3]})),
            invalid,
            vec!["entities.origin has 3 in row 0", "string was expected"],
        ),
        (
            online("plain", json!({"origin": [], "dest": []})),
            invalid,
            vec!["entities.dest is not asked for"],
        ),
        (
            online("both_ends", json!({"origin": ["a"], "dest": ["a", "b"]})),
            invalid,
            vec!["entities.dest has 2 values and entities.origin has 1"],
        ),
        (
            online("model", origin.clone()),
            invalid,
            vec!["request.humidity (float64) is missing"],
        ),
        (
            json!({"op": "online", "service": "model", "entities": origin, "request": {"humidity": [1, 2]}}),
            invalid,
            vec![
                "request.humidity has 2 values for 1 rows",
                "one value for all",
            ],
        ),
        (json!({"op": "spine"}), invalid, vec!["DoPut"]),
        (
            json!({"op": "spine", "x": 1}),
            invalid,
            vec!["unknown field \"x\""],
        ),
        (
            json!({"op": "historical", "service": "plain"}),
            invalid,
            vec!["no field \"spine\""],
        ),
        (
            json!({"op": "historical", "service": "plain", "spine": {"handle": "x"}}),
            Code::NotFound,
            vec!["names no spine"],
        ),
        (
            json!({"op": "read", "view": "airport_facs"}),
            Code::NotFound,
            vec!["airport_facs", "airport_facts"],
        ),
        (
            json!({"op": "read", "view": "airport_facts", "start": "soon"}),
            invalid,
            vec!["\"start\"", "RFC 3339"],
        ),
        (json!({"op": "read"}), invalid, vec!["view"]),
    ] {
        let status = served.refused(command.clone()).await;
        assert_status(&status, code, &texts);
    }
    let mut client = served.client().await;
    for bytes in [&b"\xff\xfe"[..], b"", b"{", b"{\"op\":\"online\"} x"] {
        let ticket = arrow_flight::Ticket {
            ticket: bytes::Bytes::copy_from_slice(bytes),
        };
        let mut answer = client.do_get(ticket).await.unwrap().into_inner();
        let status = answer.message().await.unwrap_err();
        assert_status(&status, invalid, &["no JSON", "P406"]);
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offline_rows_lie_after_the_start_and_up_to_the_end() {
    let served = serve().await;
    let all = served
        .get(json!({"op": "read", "view": "airport_weather"}))
        .await
        .unwrap();
    assert_eq!(names(&all), ["origin", "time", "temp", "wind"]);
    assert_eq!(all.num_rows(), 3);
    let times = all.column_by_name("time").unwrap();
    let times = arrow_cast::cast(times, &arrow_schema::DataType::Int64).unwrap();
    let times = times
        .as_any()
        .downcast_ref::<arrow_array::Int64Array>()
        .unwrap();
    let (first, last) = (times.value(0), times.value(1));
    let part = json!({"op": "read", "view": "airport_weather@1", "start": first, "end": last});
    let part = served.get(part).await.unwrap();
    assert!(part.num_rows() < 3 && !text(&part, "temp").contains(&"10.0".to_owned()));
    let nothing = json!({"op": "read", "view": "airport_weather", "end": "2001-01-01T00:00:00Z"});
    assert_eq!(served.get(nothing).await.unwrap().num_rows(), 0);
    served.stop().await;
}
