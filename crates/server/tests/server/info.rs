//! ListFlights, GetFlightInfo, GetSchema, ListActions, health and reflection.

use arrow_flight::{Criteria, Empty, FlightDescriptor, IpcMessage, SchemaResult};
use arrow_schema::Schema;
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::*;

async fn columns(served: &Served, descriptor: FlightDescriptor) -> Vec<String> {
    let mut client = served.client().await;
    let SchemaResult { schema } = client
        .get_schema(descriptor.clone())
        .await
        .unwrap()
        .into_inner();
    let schema = Schema::try_from(IpcMessage(schema)).unwrap();
    let info = client
        .get_flight_info(descriptor)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(info.try_decode_schema().unwrap(), schema);
    schema
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_view_and_service_is_a_flight() {
    let served = serve().await;
    let answer = served
        .client()
        .await
        .list_flights(Criteria::default())
        .await
        .unwrap()
        .into_inner();
    let flights: Vec<_> = answer.try_collect().await.unwrap();
    let mut names = Vec::new();
    for flight in &flights {
        let path = flight.flight_descriptor.as_ref().unwrap().path.clone();
        assert_eq!(path[0], "flights");
        assert!(flight.endpoint.is_empty());
        names.push(path[1].clone());
        let schema = flight.clone().try_decode_schema().unwrap();
        assert!(!schema.fields().is_empty(), "{path:?}");
    }
    names.sort();
    assert_eq!(
        names,
        [
            "airport_facts",
            "airport_weather",
            "both_ends",
            "feel",
            "global",
            "model",
            "plain",
            "season"
        ]
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_told_without_running_anything() {
    let served = serve().await;
    let n_scans = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = n_scans.clone();
    served.offline.on_scan.set(move |_| {
        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Box::pin(async { Ok(None) })
    });
    let path = FlightDescriptor::new_path(vec!["flights".into(), "airport_weather".into()]);
    assert_eq!(columns(&served, path).await, ["origin", "temp", "wind"]);
    for (command, expected) in [
        (
            json!({"op": "online", "service": "plain"}),
            vec!["origin", "temp", "wind", "alt"],
        ),
        (
            json!({"op": "historical", "service": "plain"}),
            vec!["temp", "wind", "alt"],
        ),
        (
            json!({"op": "historical", "service": "plain", "spine": {"table": "labels"}}),
            vec!["origin", "event_timestamp", "temp", "wind", "alt"],
        ),
        (
            json!({"op": "read", "view": "airport_facts"}),
            vec!["origin", "known_at", "alt"],
        ),
        (
            json!({"op": "push", "view": "airport_facts", "to": "both"}),
            vec!["origin", "known_at", "alt"],
        ),
    ] {
        let mut found = columns(&served, descriptor(&command)).await;
        let mut expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        if command["op"] == "push" {
            found.sort();
            expected.sort();
        }
        assert_eq!(found, expected, "{command}");
    }
    assert_eq!(n_scans.load(std::sync::atomic::Ordering::SeqCst), 0);
    let command = json!({"op": "online", "service": "plain", "entities": {"origin": ["JFK"]}});
    let mut client = served.client().await;
    let info = client
        .get_flight_info(descriptor(&command))
        .await
        .unwrap()
        .into_inner();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&ticket.ticket).unwrap(),
        command
    );
    let rows = batches_of(client.do_get(ticket).await.unwrap().into_inner())
        .await
        .unwrap();
    assert_eq!(text(&rows[0], "alt"), ["13"]);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptors_of_nothing_are_told_so() {
    let served = serve().await;
    let mut client = served.client().await;
    let path = |parts: &[&str]| {
        FlightDescriptor::new_path(parts.iter().map(|it| (*it).to_owned()).collect())
    };
    for (descriptor, code, texts) in [
        (
            path(&["flights", "airport_facs"]),
            Code::NotFound,
            vec!["airport_facts"],
        ),
        (
            path(&["flight", "plain"]),
            Code::NotFound,
            vec!["no project \"flight\"", "\"flights\""],
        ),
        (
            path(&["plain"]),
            Code::InvalidArgument,
            vec!["path of project and name"],
        ),
        (
            FlightDescriptor::default(),
            Code::InvalidArgument,
            vec!["neither a command nor a path"],
        ),
        (
            FlightDescriptor::new_cmd("{"),
            Code::InvalidArgument,
            vec!["no JSON"],
        ),
        (
            descriptor(&json!({"op": "spine"})),
            Code::InvalidArgument,
            vec!["columns that its client sends"],
        ),
    ] {
        let status = client
            .get_flight_info(descriptor.clone())
            .await
            .unwrap_err();
        assert_status(&status, code, &texts);
        assert_status(
            &client.get_schema(descriptor).await.unwrap_err(),
            code,
            &texts,
        );
    }
    let status = client
        .poll_flight_info(FlightDescriptor::default())
        .await
        .unwrap_err();
    assert_status(&status, Code::Unimplemented, &["use GetFlightInfo"]);
    let status = client
        .handshake(futures::stream::empty())
        .await
        .unwrap_err();
    assert_status(&status, Code::Unimplemented, &["authorization: Bearer"]);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_health_and_the_protocol_are_described() {
    let served = serve().await;
    let answer = served
        .client()
        .await
        .list_actions(Empty {})
        .await
        .unwrap()
        .into_inner();
    let actions: Vec<_> = answer.map(|action| action.unwrap().r#type).collect().await;
    assert_eq!(
        actions,
        [
            "plan",
            "apply",
            "materialize",
            "list",
            "describe",
            "status",
            "health"
        ]
    );
    let mut health = HealthClient::new(served.channel().await);
    for service in ["", "arrow.flight.protocol.FlightService"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status, 1, "{service} is serving");
    }
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let mut reflection = ServerReflectionClient::new(served.channel().await);
    let ask = |message| {
        futures::stream::iter([ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message),
        }])
    };
    let asked = ask(MessageRequest::ListServices(String::new()));
    let mut answer = reflection
        .server_reflection_info(asked)
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(listed)) =
        answer.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services");
    };
    assert!(
        listed
            .service
            .iter()
            .any(|it| it.name == "arrow.flight.protocol.FlightService"),
        "{listed:?}"
    );
    let asked = ask(MessageRequest::FileContainingSymbol(
        "arrow.flight.protocol.FlightService.DoExchange".to_owned(),
    ));
    let mut answer = reflection
        .server_reflection_info(asked)
        .await
        .unwrap()
        .into_inner();
    let found = answer.message().await.unwrap().unwrap().message_response;
    assert!(
        matches!(found, Some(MessageResponse::FileDescriptorResponse(_))),
        "{found:?}"
    );
    served.stop().await;
}
