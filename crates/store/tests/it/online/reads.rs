//! What online reads answer.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, Int64Array, StringArray, StringViewArray, UInt64Array};
use arrow_schema::DataType;
use provender_conformance::memory::OnlineCall;
use provender_core::model::FeatureRef;
use provender_store::{OnlineRequest, Selection};

use super::doubles::{CountingRegistry, reopened};
use super::{
    features, fill, filled, origins, project, put, read, read_of, rows, service, with_status,
};
use crate::support::{batch, floats, hours, ints, names, strings, text};

#[tokio::test]
async fn a_service_answers_keys_then_features_in_order() {
    let project = filled().await;
    let query = project
        .store
        .prepare_online(&project.cx, &service("delay_model"))
        .await
        .unwrap();
    assert_eq!(query.selected(), "delay_model@1");
    let inputs: Vec<&str> = (query.input_schema().fields().iter())
        .map(|field| field.name().as_str())
        .collect();
    assert_eq!((inputs, query.n_keys()), (vec!["origin", "dest"], 2));
    // The columns may stand in any order.
    let input = batch(&[
        ("dest", strings(&["LGA", "JFK", "LGA", "LGA"])),
        ("origin", strings(&["JFK", "LGA", "JFK", "XXX"])),
    ]);
    let call = query.bind(&input.schema()).unwrap();
    let answer = call.read(&project.cx, &input).await.unwrap();
    assert_eq!(
        names(&answer),
        [
            "origin",
            "dest",
            "temp",
            "wind",
            "dest_airport__alt",
            "delay_sum",
            "n_departures",
            "comfort"
        ]
    );
    assert_eq!(text(&answer, "origin"), ["JFK", "LGA", "JFK", "XXX"]);
    assert_eq!(text(&answer, "dest"), ["LGA", "JFK", "LGA", "LGA"]);
    assert_eq!(
        text(&answer, "temp"),
        ["20.0", "-", "20.0", "-"],
        "the weather at LGA is older than its ttl"
    );
    assert_eq!(
        text(&answer, "dest_airport__alt"),
        ["21", "13", "21", "21"],
        "joined at the destination"
    );
    assert_eq!(text(&answer, "delay_sum"), ["12", "-", "12", "-"]);
    assert_eq!(
        text(&answer, "n_departures"),
        ["2", "0", "2", "0"],
        "a route never seen had no departures"
    );
    assert_eq!(
        text(&answer, "comfort"),
        ["193.0", "-", "193.0", "-"],
        "(temp - wind) * 10 + alt, through two on-demand views"
    );
}

#[tokio::test]
async fn request_fields_are_read_as_their_types_and_not_put_out() {
    let project = filled().await;
    let request = features("feel,airport_facts:alt");
    let query = project
        .store
        .prepare_online(&project.cx, &request)
        .await
        .unwrap();
    assert_eq!(query.selected(), "feel@1, airport_facts@1");
    let fields = query.input_schema().fields();
    assert_eq!(query.n_keys(), 1);
    assert_eq!(
        (fields[1].name().as_str(), fields[1].data_type()),
        ("humidity", &DataType::Float64)
    );
    let input = batch(&[
        ("humidity", ints(&[2, 3])),
        ("origin", strings(&["JFK", "JFK"])),
    ]);
    let answer = read(&project, &request, &input).await.unwrap();
    assert_eq!(names(&answer), ["origin", "chill", "mugginess", "alt"]);
    assert_eq!(text(&answer, "chill"), ["18.0", "18.0"]);
    assert_eq!(text(&answer, "mugginess"), ["40.0", "60.0"]);
}

#[tokio::test]
async fn one_view_is_read_under_two_aliases_by_other_keys() {
    let project = filled().await;
    let alias = |name: &str, column: &str| FeatureRef {
        view: "airport_weather".to_owned(),
        alias: Some(name.to_owned()),
        join_keys: [("origin".to_owned(), column.to_owned())].into(),
        features: Some(vec!["temp".to_owned()]),
        ..FeatureRef::default()
    };
    let selection = Selection::Features(vec![alias("from", "a"), alias("to", "b")]);
    let request = with_status(OnlineRequest::new(selection));
    let input = batch(&[
        ("a", strings(&["JFK", "EWR"])),
        ("b", strings(&["EWR", "JFK"])),
    ]);
    let answer = read(&project, &request, &input).await.unwrap();
    assert_eq!(
        names(&answer),
        [
            "a",
            "b",
            "from__temp",
            "to__temp",
            "from__status",
            "from__event_timestamp",
            "to__status",
            "to__event_timestamp"
        ]
    );
    assert_eq!(text(&answer, "from__temp"), ["20.0", "-"]);
    assert_eq!(text(&answer, "to__temp"), ["-", "20.0"]);
    assert_eq!(text(&answer, "from__status"), ["PRESENT", "NULL_VALUE"]);
    assert_eq!(text(&answer, "to__status"), ["NULL_VALUE", "PRESENT"]);
    assert_eq!(
        project.online.n_calls(OnlineCall::Read),
        1,
        "both in one round trip"
    );
}

#[tokio::test]
async fn full_feature_names_hold_the_view() {
    let project = filled().await;
    let mut request = features("airport_weather:temp,feel:chill");
    request.full_feature_names = true;
    let answer = read(&project, &request, &origins(&[Some("JFK")]))
        .await
        .unwrap();
    assert_eq!(
        names(&answer),
        ["origin", "airport_weather__temp", "feel__chill"]
    );
}

#[tokio::test]
async fn null_and_unknown_keys_find_nothing_and_duplicates_are_kept() {
    let project = filled().await;
    let input = origins(&[Some("LGA"), None, Some("JFK"), Some("LGA"), Some("")]);
    let answer = read(&project, &features("airport_facts"), &input)
        .await
        .unwrap();
    assert_eq!(text(&answer, "origin"), ["LGA", "-", "JFK", "LGA", ""]);
    assert_eq!(text(&answer, "alt"), ["21", "-", "13", "21", "-"]);
    let all_null = batch(&[(
        "origin",
        Arc::new(arrow_array::NullArray::new(2)) as ArrayRef,
    )]);
    let answer = read(&project, &features("airport_facts"), &all_null)
        .await
        .unwrap();
    assert_eq!(text(&answer, "alt"), ["-", "-"]);
    assert_eq!(answer.column(0).data_type(), &DataType::Utf8);
}

#[tokio::test]
async fn counts_are_zero_for_every_key_but_null_ones() {
    let project = filled().await;
    let input = batch(&[
        ("origin", strings(&["JFK", "XXX", "JFK"])),
        (
            "dest",
            Arc::new(StringArray::from(vec![Some("LGA"), Some("LGA"), None])) as ArrayRef,
        ),
    ]);
    let request = with_status(features("route_delay"));
    let answer = read(&project, &request, &input).await.unwrap();
    assert_eq!(text(&answer, "n_departures"), ["2", "0", "-"]);
    assert_eq!(text(&answer, "delay_sum"), ["12", "-", "-"]);
    assert_eq!(
        text(&answer, "route_delay__status"),
        ["PRESENT", "NOT_FOUND", "NOT_FOUND"]
    );
}

#[tokio::test]
async fn keys_of_another_type_are_cast_and_what_does_not_fit_finds_nothing() {
    let project = project().await;
    put(
        &project,
        "plane_facts",
        1,
        vec![ints(&[7, -1])],
        &[0, 0],
        vec![ints(&[180, 4])],
    )
    .await;
    let request = features("plane_facts");
    let narrow = batch(&[("tail", Arc::new(Int32Array::from(vec![7, 8])) as ArrayRef)]);
    let answer = read(&project, &request, &narrow).await.unwrap();
    assert_eq!(text(&answer, "seats"), ["180", "-"]);
    assert_eq!(
        answer.column(0).data_type(),
        &DataType::Int64,
        "echoed in the declared type"
    );
    let wide = UInt64Array::from(vec![7, u64::MAX]);
    let wide = batch(&[("tail", Arc::new(wide) as ArrayRef)]);
    let answer = read(&project, &with_status(request), &wide).await.unwrap();
    assert_eq!(text(&answer, "seats"), ["180", "-"]);
    assert_eq!(text(&answer, "tail"), ["7", "-"]);
    assert_eq!(
        text(&answer, "plane_facts__status"),
        ["PRESENT", "NOT_FOUND"]
    );
    let views = filled().await;
    let viewed = StringViewArray::from(vec!["JFK"]);
    let viewed = batch(&[("origin", Arc::new(viewed) as ArrayRef)]);
    let answer = read(&views, &features("airport_facts"), &viewed)
        .await
        .unwrap();
    assert_eq!(text(&answer, "alt"), ["13"]);
}

#[tokio::test]
async fn one_column_serves_views_that_declare_it_with_other_types() {
    let project = crate::support::Project::new(super::tables(&[
        (
            "wide",
            batch(&[("k", ints(&[1])), ("at", hours(&[0])), ("a", ints(&[1]))]),
        ),
        (
            "narrow",
            batch(&[
                ("k", Arc::new(Int32Array::from(vec![1])) as ArrayRef),
                ("at", hours(&[0])),
                ("b", ints(&[1])),
            ]),
        ),
        (
            "words",
            batch(&[
                ("k", strings(&["1"])),
                ("at", hours(&[0])),
                ("c", ints(&[1])),
            ]),
        ),
    ]))
    .await;
    project
        .apply(
            "
entities:
  - {name: wide, join_keys: [{name: k, type: int64}]}
  - {name: narrow, join_keys: [{name: k, type: int32}]}
  - {name: words, join_keys: [{name: k, type: string}]}
sources:
  - {name: wide, table: wide, timestamp: at}
  - {name: narrow, table: narrow, timestamp: at}
  - {name: words, table: words, timestamp: at}
feature_views:
  - {name: wide_view, entities: [wide], source: wide, features: [{name: a, type: int64}]}
  - {name: narrow_view, entities: [narrow], source: narrow, features: [{name: b, type: int64}]}
  - {name: word_view, entities: [words], source: words, features: [{name: c, type: int64}]}
on_demand_feature_views:
  - name: same_name
    inputs: [wide_view]
    request: [{name: k, type: float64}]
    features: [{name: half, type: float64, sql: a + k / 2}]
",
        )
        .await;
    let large = 1_i64 << 40;
    put(
        &project,
        "wide_view",
        1,
        vec![ints(&[1, large])],
        &[0, 0],
        vec![ints(&[10, 20])],
    )
    .await;
    put(
        &project,
        "narrow_view",
        1,
        vec![Arc::new(Int32Array::from(vec![1])) as ArrayRef],
        &[0],
        vec![ints(&[30])],
    )
    .await;
    let request = features("wide_view,narrow_view,same_name");
    let input = batch(&[("k", ints(&[1, large]))]);
    let answer = read(&project, &request, &input).await.unwrap();
    assert_eq!(names(&answer), ["k", "a", "b", "half"]);
    assert_eq!(text(&answer, "a"), ["10", "20"]);
    assert_eq!(text(&answer, "b"), ["30", "-"]);
    assert_eq!(
        text(&answer, "half")[0],
        "10.5",
        "the request field is the key's column"
    );

    let error = project
        .store
        .prepare_online(&project.cx, &features("wide_view,word_view"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P403");
    assert_eq!(
        error.message(),
        "column \"k\" of the request would be join key \"k\" of view \"wide_view\", declared int64, and join key \"k\" of view \"word_view\", declared string"
    );
}

#[tokio::test]
async fn several_online_stores_are_read_and_put_side_by_side() {
    let project = filled().await;
    put(
        &project,
        "airport_notes",
        1,
        vec![strings(&["LGA"])],
        &[0],
        vec![ints(&[77])],
    )
    .await;
    let request = with_status(features("airport_notes,airport_facts"));
    let input = origins(&[Some("JFK"), Some("LGA")]);
    let answer = read(&project, &request, &input).await.unwrap();
    assert_eq!(text(&answer, "height"), ["-", "77"]);
    assert_eq!(text(&answer, "alt"), ["13", "21"]);
    assert_eq!(
        text(&answer, "airport_notes__status"),
        ["NOT_FOUND", "PRESENT"]
    );
    for store in [&project.online, &project.other_online] {
        assert_eq!(store.n_calls(OnlineCall::Prepare), 1);
        assert_eq!(store.n_calls(OnlineCall::Read), 1);
    }
}

#[tokio::test]
async fn a_global_view_answers_each_row() {
    let project = filled().await;
    put(&project, "fuel", 1, Vec::new(), &[0], vec![floats(&[2.5])]).await;
    let answer = read(&project, &features("fuel"), &rows(3)).await.unwrap();
    assert_eq!(text(&answer, "price"), ["2.5", "2.5", "2.5"]);
    let answer = read(&project, &features("traffic"), &rows(1))
        .await
        .unwrap();
    assert_eq!(text(&answer, "n_prices"), ["0"]);
    let input = origins(&[Some("JFK"), None]);
    let answer = read(&project, &features("airport_facts,fuel"), &input)
        .await
        .unwrap();
    assert_eq!(text(&answer, "alt"), ["13", "-"]);
    assert_eq!(text(&answer, "price"), ["2.5", "2.5"]);
}

#[tokio::test]
async fn no_rows_are_answered_by_no_rows_without_asking_a_store() {
    let project = filled().await;
    let request = with_status(service("delay_model"));
    let input = batch(&[("origin", strings(&[])), ("dest", strings(&[]))]);
    let answer = read(&project, &request, &input).await.unwrap();
    assert_eq!((answer.num_rows(), answer.num_columns()), (0, 16));
    assert_eq!(project.online.n_calls(OnlineCall::Read), 0);
    let answer = read(&project, &features("fuel"), &rows(0)).await.unwrap();
    assert_eq!(answer.num_rows(), 0);
}

#[tokio::test]
async fn reading_never_asks_the_registry() {
    let project = filled().await;
    fill(&project, "airport_weather", 1).await;
    let registry = Arc::new(CountingRegistry::new(project.registry.clone()));
    let online = Arc::new(project.online.clone());
    let store = reopened(&project, registry.clone(), online).await;
    let input = batch(&[("origin", strings(&["JFK"])), ("dest", strings(&["LGA"]))]);
    let query = store
        .prepare_online(&project.cx, &service("delay_model"))
        .await
        .unwrap();
    let call = query.bind(&input.schema()).unwrap();
    let n_asked = registry.count();
    assert!(n_asked > 0, "preparing does ask");
    for _ in 0..3 {
        let answer = call.clone().read(&project.cx, &input).await.unwrap();
        assert_eq!(text(&answer, "temp"), ["20.0"]);
    }
    assert_eq!(registry.count(), n_asked);
    read_of(
        &store,
        &project,
        &features("airport_facts"),
        &origins(&[None]),
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn calls_of_one_query_run_at_the_same_time() {
    let project = filled().await;
    let query = project
        .store
        .prepare_online(&project.cx, &features("airport_facts"))
        .await
        .unwrap();
    let input = origins(&[Some("JFK"), Some("LGA")]);
    let call = query.bind(&input.schema()).unwrap();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (call, cx, input) = (call.clone(), project.cx.clone(), input.clone());
        calls.spawn(async move { call.read(&cx, &input).await.unwrap() });
    }
    for answer in calls.join_all().await {
        let alt = answer
            .column(1)
            .as_any()
            .downcast_ref::<Int64Array>()
            .unwrap();
        assert_eq!(alt.values(), &[13, 21]);
    }
}

#[tokio::test]
async fn features_of_the_request_alone_need_no_keys_and_no_store() {
    let project = crate::support::Project::new(super::more_tables()).await;
    let alone = super::definitions().replace("temp * humidity", "humidity * 2");
    project.apply(&alone).await;
    let request = with_status(features("feel:mugginess"));
    let query = project
        .store
        .prepare_online(&project.cx, &request)
        .await
        .unwrap();
    assert_eq!(
        (query.n_keys(), query.input_schema().fields().len()),
        (0, 1)
    );
    let input = batch(&[("humidity", floats(&[1.0, 1.5]))]);
    let answer = read(&project, &request, &input).await.unwrap();
    assert_eq!(names(&answer), ["mugginess"]);
    assert_eq!(text(&answer, "mugginess"), ["2.0", "3.0"]);
    assert_eq!(project.online.n_calls(OnlineCall::Prepare), 0);
}
