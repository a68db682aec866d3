//! The description of Arrow Flight that gRPC reflection answers, so that tools such as grpcurl can call
//! the server without the protocol's file.
//!
//! Follows <https://github.com/apache/arrow/blob/main/format/Flight.proto>.

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto,
};

const PACKAGE: &str = "arrow.flight.protocol";
const TIMESTAMP: &str = ".google.protobuf.Timestamp";

/// Name, number, type; a type that is no scalar is a message, `*` before it means repeated.
type Fields = &'static [(&'static str, i32, &'static str)];

const MESSAGES: &[(&str, Fields)] = &[
    (
        "HandshakeRequest",
        &[("protocol_version", 1, "uint64"), ("payload", 2, "bytes")],
    ),
    (
        "HandshakeResponse",
        &[("protocol_version", 1, "uint64"), ("payload", 2, "bytes")],
    ),
    ("Empty", &[]),
    (
        "ActionType",
        &[("type", 1, "string"), ("description", 2, "string")],
    ),
    ("Criteria", &[("expression", 1, "bytes")]),
    ("Action", &[("type", 1, "string"), ("body", 2, "bytes")]),
    ("Result", &[("body", 1, "bytes")]),
    ("SchemaResult", &[("schema", 1, "bytes")]),
    (
        "FlightDescriptor",
        &[
            ("type", 1, "DescriptorType"),
            ("cmd", 2, "bytes"),
            ("path", 3, "*string"),
        ],
    ),
    (
        "FlightInfo",
        &[
            ("schema", 1, "bytes"),
            ("flight_descriptor", 2, "FlightDescriptor"),
            ("endpoint", 3, "*FlightEndpoint"),
            ("total_records", 4, "int64"),
            ("total_bytes", 5, "int64"),
            ("ordered", 6, "bool"),
            ("app_metadata", 7, "bytes"),
        ],
    ),
    (
        "PollInfo",
        &[
            ("info", 1, "FlightInfo"),
            ("flight_descriptor", 2, "FlightDescriptor"),
            ("progress", 3, "double"),
            ("expiration_time", 4, TIMESTAMP),
        ],
    ),
    (
        "FlightEndpoint",
        &[
            ("ticket", 1, "Ticket"),
            ("location", 2, "*Location"),
            ("expiration_time", 3, TIMESTAMP),
            ("app_metadata", 4, "bytes"),
        ],
    ),
    ("Location", &[("uri", 1, "string")]),
    ("Ticket", &[("ticket", 1, "bytes")]),
    (
        "FlightData",
        &[
            ("flight_descriptor", 1, "FlightDescriptor"),
            ("data_header", 2, "bytes"),
            ("app_metadata", 3, "bytes"),
            ("data_body", 1000, "bytes"),
        ],
    ),
    ("PutResult", &[("app_metadata", 1, "bytes")]),
];

/// Name, request, whether it is a stream, answer, whether it is a stream.
const METHODS: &[(&str, &str, bool, &str, bool)] = &[
    (
        "Handshake",
        "HandshakeRequest",
        true,
        "HandshakeResponse",
        true,
    ),
    ("ListFlights", "Criteria", false, "FlightInfo", true),
    (
        "GetFlightInfo",
        "FlightDescriptor",
        false,
        "FlightInfo",
        false,
    ),
    (
        "PollFlightInfo",
        "FlightDescriptor",
        false,
        "PollInfo",
        false,
    ),
    (
        "GetSchema",
        "FlightDescriptor",
        false,
        "SchemaResult",
        false,
    ),
    ("DoGet", "Ticket", false, "FlightData", true),
    ("DoPut", "FlightData", true, "PutResult", true),
    ("DoExchange", "FlightData", true, "FlightData", true),
    ("DoAction", "Action", false, "Result", true),
    ("ListActions", "Empty", false, "ActionType", true),
];

/// The files that describe the service.
pub(crate) fn files() -> FileDescriptorSet {
    let mut messages: Vec<DescriptorProto> = MESSAGES
        .iter()
        .map(|(name, fields)| message(name, fields))
        .collect();
    for message in &mut messages {
        if message.name() == "FlightDescriptor" {
            message.enum_type.push(descriptor_type());
        }
    }
    let flight = FileDescriptorProto {
        name: Some("Flight.proto".to_owned()),
        package: Some(PACKAGE.to_owned()),
        dependency: vec!["google/protobuf/timestamp.proto".to_owned()],
        message_type: messages,
        service: vec![ServiceDescriptorProto {
            name: Some("FlightService".to_owned()),
            method: METHODS.iter().map(method).collect(),
            options: None,
        }],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    };
    let timestamp = FileDescriptorProto {
        name: Some("google/protobuf/timestamp.proto".to_owned()),
        package: Some("google.protobuf".to_owned()),
        message_type: vec![message(
            "Timestamp",
            &[("seconds", 1, "int64"), ("nanos", 2, "int32")],
        )],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet {
        file: vec![timestamp, flight],
    }
}

fn message(name: &str, fields: Fields) -> DescriptorProto {
    DescriptorProto {
        name: Some(name.to_owned()),
        field: fields.iter().map(field).collect(),
        ..DescriptorProto::default()
    }
}

fn field((name, number, kind): &(&str, i32, &str)) -> FieldDescriptorProto {
    let (label, kind) = match kind.strip_prefix('*') {
        Some(kind) => (Label::Repeated, kind),
        None => (Label::Optional, *kind),
    };
    let (kind, type_name) = match kind {
        "uint64" => (Type::Uint64, None),
        "int64" => (Type::Int64, None),
        "int32" => (Type::Int32, None),
        "bool" => (Type::Bool, None),
        "double" => (Type::Double, None),
        "string" => (Type::String, None),
        "bytes" => (Type::Bytes, None),
        "DescriptorType" => (
            Type::Enum,
            Some(format!(".{PACKAGE}.FlightDescriptor.DescriptorType")),
        ),
        message if message.starts_with('.') => (Type::Message, Some(message.to_owned())),
        message => (Type::Message, Some(format!(".{PACKAGE}.{message}"))),
    };
    FieldDescriptorProto {
        name: Some((*name).to_owned()),
        number: Some(*number),
        label: Some(label.into()),
        r#type: Some(kind.into()),
        type_name,
        json_name: Some(json_name(name)),
        ..FieldDescriptorProto::default()
    }
}

fn descriptor_type() -> EnumDescriptorProto {
    let value = |(number, name): (i32, &str)| EnumValueDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        options: None,
    };
    EnumDescriptorProto {
        name: Some("DescriptorType".to_owned()),
        value: [(0, "UNKNOWN"), (1, "PATH"), (2, "CMD")]
            .map(value)
            .to_vec(),
        ..EnumDescriptorProto::default()
    }
}

fn method(
    (name, input, client_streaming, output, server_streaming): &(&str, &str, bool, &str, bool),
) -> MethodDescriptorProto {
    MethodDescriptorProto {
        name: Some((*name).to_owned()),
        input_type: Some(format!(".{PACKAGE}.{input}")),
        output_type: Some(format!(".{PACKAGE}.{output}")),
        client_streaming: Some(*client_streaming),
        server_streaming: Some(*server_streaming),
        options: None,
    }
}

/// `flight_descriptor` as `flightDescriptor`.
fn json_name(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut joined, word| {
        let mut letters = word.chars();
        joined.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        joined.extend(letters);
        joined
    })
}
