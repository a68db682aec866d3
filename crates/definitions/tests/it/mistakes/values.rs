//! Durations and types that are none.

use super::{assert_mistake, view};

#[test]
fn bad_durations_say_why() {
    let help = "write a positive number and us, ms, s, m, h or d, for example 3h";
    for (ttl, why) in [
        ("0s", "\"0s\" is no duration: it must be greater than zero"),
        (
            "-3h",
            "\"-3h\" is no duration: it must be greater than zero",
        ),
        ("3", "\"3\" is no duration: its unit is missing"),
        ("3w", "\"3w\" is no duration: its unit is unknown"),
        ("1.5h", "\"1.5h\" is no duration: its unit is unknown"),
        (
            "soon",
            "\"soon\" is no duration: it does not start with a whole number",
        ),
    ] {
        assert_mistake(
            &view(&format!(
                "    source: weather\n    ttl: {ttl}\n    features: [{{name: a, type: int64}}]\n"
            )),
            "P108",
            "4:10",
            &format!("ttl of feature view \"v\": {why}"),
            help,
        );
    }
    assert_mistake(
        &view(
            "    source: weather\n    aggregations: [{feature: a, function: count, window: 0d}]\n",
        ),
        "P108",
        "4:58",
        "window of aggregation \"a\" of feature view \"v\": \"0d\" is no duration: it must be greater than zero",
        help,
    );
    assert_mistake(
        "sources:\n  - {name: a, table: t, timestamp: at, lookback: 3}\n",
        "P108",
        "2:50",
        "lookback of source \"a\": \"3\" is no duration: its unit is missing",
        help,
    );
}

#[test]
fn bad_types_say_why() {
    assert_mistake(
        &view("    source: weather\n    features: [{name: a, type: flot64}]\n"),
        "P109",
        "4:32",
        "type of feature \"a\" of feature view \"v\": \"flot64\" is no value type: \"flot64\" is unknown",
        "did you mean \"float64\"?",
    );
    assert_mistake(
        "entities:\n  - {name: a, join_keys: [{name: k, type: float64}]}\n",
        "P109",
        "2:43",
        "join key \"k\" of entity \"a\" cannot be of type float64",
        "join keys are bool, int8, int16, int32, int64, uint8, uint16, uint32, uint64, string, binary, date, timestamp",
    );
    assert_mistake(
        "on_demand_feature_views:\n  - {name: o, request: [{name: r, type: 'list<'}], features: [{name: a, type: int64, sql: '1'}]}\n",
        "P109",
        "2:41",
        "type of request field \"r\" of on-demand feature view \"o\": \"list<\" is no value type: \"\" is unknown",
        "",
    );
}
