//! Tables of flights and weather, and the definitions over them.

use arrow_array::RecordBatch;
use provender_conformance::Tables;

use super::rows::{batch, floats, hours, ints, strings, tables};

/// Hourly weather at two airports.
pub fn weather() -> RecordBatch {
    batch(&[
        ("origin", strings(&["JFK", "JFK", "LGA", "JFK"])),
        ("time", hours(&[1, 2, 2, 9])),
        ("temp", floats(&[10.0, 20.0, 25.0, 90.0])),
        ("WIND", ints(&[1, 2, 3, 9])),
    ])
}

/// Positions of airports, known since the epoch.
pub fn airports() -> RecordBatch {
    batch(&[
        ("faa", strings(&["JFK", "LGA", "EWR"])),
        ("known_at", hours(&[0, 0, 0])),
        ("alt", ints(&[13, 21, 18])),
    ])
}

/// Departures of a route, with the time at which they were recorded.
pub fn departures() -> RecordBatch {
    batch(&[
        ("origin", strings(&["JFK", "JFK", "JFK", "LGA"])),
        ("dest", strings(&["LGA", "LGA", "EWR", "EWR"])),
        ("at", hours(&[1, 2, 2, 2])),
        ("recorded", hours(&[1, 8, 2, 2])),
        ("delay", ints(&[4, 8, 1, 100])),
    ])
}

pub fn all_tables() -> Tables {
    tables(&[
        ("weather", weather()),
        ("airports", airports()),
        ("departures", departures()),
    ])
}

pub const DEFINITIONS: &str = "
entities:
  - {name: airport, join_keys: [{name: origin, type: string}]}
  - {name: route, join_keys: [{name: origin, type: string}, {name: dest, type: string}]}
sources:
  - {name: weather, table: weather, timestamp: time}
  - {name: airports, table: airports, timestamp: known_at, columns: {origin: faa}}
  - {name: departures, table: departures, timestamp: at, created_timestamp: recorded}
feature_views:
  - name: airport_weather
    entities: [airport]
    source: weather
    ttl: 3h
    description: hourly weather
    features: [{name: temp, type: float64}, {name: wind, type: int64}]
  - name: airport_facts
    entities: [airport]
    source: airports
    features: [{name: alt, type: int64}]
  - name: route_delay
    entities: [route]
    source: departures
    aggregations:
      - {feature: delay_sum, function: sum, column: delay, window: 3h}
      - {feature: n_departures, function: count, window: 1d}
on_demand_feature_views:
  - name: feel
    inputs: [airport_weather]
    request: [{name: humidity, type: float64}]
    features:
      - {name: chill, type: float64, sql: temp - wind}
      - {name: mugginess, type: float64, sql: temp * humidity}
  - name: comfort
    inputs: [feel, airport_facts]
    features:
      - {name: comfort, type: float64, sql: chill * 10 + alt}
feature_services:
  - name: delay_model
    features:
      - airport_weather
      - {view: airport_facts, as: dest_airport, join_keys: {origin: dest}}
      - route_delay
      - comfort
";
