//! Others can place their findings in the files.

use provender_core::provider::ObjectKind;
use provender_core::{Error, ErrorKind, codes};
use provender_definitions::parse_definitions;

use crate::EXAMPLE;

#[test]
fn parts_of_definitions_are_found_and_the_rest_falls_back() {
    let locations = parse_definitions(&[("features/all.yaml", EXAMPLE)])
        .unwrap()
        .locations;
    use ObjectKind::{Entity, FeatureService, FeatureView, OnDemandFeatureView, Source};
    for (kind, name, field, place) in [
        (Entity, "airport", None, "2:5"),
        (Entity, "route", Some("dest"), "5:54"),
        (Source, "weather", Some("timestamp"), "9:16"),
        (Source, "weather", Some("table"), "8:12"),
        (Source, "weather", Some("filter"), "7:5"),
        (Source, "airports", Some("query"), "15:12"),
        (Source, "airports", Some("columns.origin"), "17:23"),
        (Source, "airports", Some("columns.dest"), "14:5"),
        (FeatureView, "airport_weather", None, "19:5"),
        (FeatureView, "airport_weather", Some("source"), "21:13"),
        (FeatureView, "airport_weather", Some("ttl"), "22:10"),
        (FeatureView, "airport_weather", Some("temp"), "27:16"),
        (FeatureView, "airport_weather", Some("temp.type"), "27:28"),
        (FeatureView, "airport_weather", Some("temp.column"), "27:16"),
        (FeatureView, "route_delay", Some("departures_1d"), "39:19"),
        (
            FeatureView,
            "route_delay",
            Some("mean_dep_delay_3h.column"),
            "38:62",
        ),
        (OnDemandFeatureView, "wind", Some("crosswind.sql"), "45:47"),
        (
            OnDemandFeatureView,
            "wind",
            Some("request.runway_heading"),
            "43:22",
        ),
        (
            FeatureService,
            "departure_delay",
            Some("airport_weather"),
            "49:9",
        ),
        (
            FeatureService,
            "departure_delay",
            Some("dest_airport"),
            "50:16",
        ),
        (FeatureService, "departure_delay", Some("nothing"), "47:5"),
    ] {
        let at = locations.of(kind, name, field).unwrap();
        assert_eq!(
            at.to_string(),
            format!("features/all.yaml:{place}"),
            "{kind:?} {name} {field:?}"
        );
    }
    assert!(locations.of(Source, "airport", None).is_none());
}

#[test]
fn an_attached_place_keeps_everything_else_of_an_error() {
    let locations = parse_definitions(&[("features/all.yaml", EXAMPLE)])
        .unwrap()
        .locations;
    let at = locations
        .of(ObjectKind::Source, "weather", Some("table"))
        .unwrap();
    let error = Error::new(&codes::MISSING_TABLE, "no table \"weather\"")
        .help("import it")
        .context("source", "weather")
        .retryable(true)
        .source(std::io::Error::other("underneath"));
    let error = at.attach(error);
    assert_eq!(
        error.to_string(),
        "features/all.yaml:8:12: no table \"weather\"; import it"
    );
    assert_eq!((error.code(), error.kind()), ("P120", ErrorKind::NotFound));
    assert!(error.is_retryable());
    assert_eq!(error.causes(), ["underneath"]);
    let pairs: Vec<(&str, &str)> = error
        .context_pairs()
        .iter()
        .map(|(key, value)| (key.as_ref(), value.as_str()))
        .collect();
    assert_eq!(
        pairs,
        [
            ("source", "weather"),
            ("file", "features/all.yaml"),
            ("line", "8"),
            ("column", "12")
        ]
    );
}
