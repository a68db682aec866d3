"""Checks the Flight protocol as pyarrow meets it: every verb, type and kind of error.

usage: check_flight.py PROVENDER EMPTY_DIR
Makes a project in the folder, serves it, and prints how many checks passed.
"""

import datetime
import json
import pathlib
import sys

import pyarrow as pa
import pyarrow.flight as flight
import pyarrow.parquet as pq

import flight_failures
import kinds_project
from kinds_project import KEY_KINDS, KINDS, NOON, STAMP, STORED
from served import Server, act, descriptor, exchange, get, provender, put, refused

MINUTE = datetime.timedelta(minutes=1)
EVERYTHING = [f"f_{kind}" for kind in KINDS]


def rows(table):
    return table.to_pylist()


def same(left, right):
    """Whether tables hold the same rows and columns, whatever the metadata."""
    assert left.schema.names == right.schema.names, (left.schema, right.schema)
    assert rows(left) == rows(right), (rows(left)[:3], rows(right)[:3])


def discovery(client, cx):
    found = {tuple(part.decode() for part in info.descriptor.path): info for info in client.list_flights()}
    views = ["everything", "reading", "recent", "training_only", "everywhere", *(f"by_{kind}" for kind in KEY_KINDS)]
    assert set(found) == {("kinds", name) for name in [*views, "echo", "all_of_it", "pair"]}, set(found)
    assert found["kinds", "everything"].schema.names == ["id", *EVERYTHING]
    for kind, (_, arrow, *_) in KINDS.items():
        assert found["kinds", "everything"].schema.field(f"f_{kind}").type == arrow, kind
    assert found["kinds", "reading"].total_records == -1 and found["kinds", "reading"].endpoints == []

    path = flight.FlightDescriptor.for_path("kinds", "reading")
    assert client.get_schema(path).schema.names == ["id", "value"]
    assert client.get_flight_info(path).schema.names == ["id", "value"]
    refused(pa.ArrowKeyError, lambda: client.get_schema(flight.FlightDescriptor.for_path("kinds", "readin")), 'did you mean "reading"')
    refused(pa.ArrowKeyError, lambda: client.get_schema(flight.FlightDescriptor.for_path("other", "reading")), 'its project is "kinds"')
    refused(pa.ArrowInvalid, lambda: client.get_schema(flight.FlightDescriptor.for_path("reading")), "path of project and name")

    # Without a spine a training set has the features alone; with one, the spine's columns first.
    spine = {"table": "readings"}
    historical = {"op": "historical", "features": ["everything:f_bool"], "timestamp": "at"}
    assert client.get_schema(descriptor(historical)).schema.names == ["f_bool"]
    assert client.get_schema(descriptor({**historical, "spine": spine})).schema.names == ["id", "value", "at", "created", "f_bool"]
    assert client.get_schema(descriptor({"op": "push", "view": "reading", "to": "both"})).schema.names == ["id", "at", "created", "value"]
    for command in (
        {"op": "online", "service": "all_of_it", "entities": {"id": [1, 2]}},
        {**historical, "spine": spine},
        {"op": "read", "view": "reading"},
    ):
        info = client.get_flight_info(descriptor(command))
        answer = client.do_get(info.endpoints[0].ticket).read_all()
        assert answer.schema == info.schema, (answer.schema, info.schema)
        same(answer, get(client, **command))


def online(client, cx):
    ids = [2, 1, 9, None, 1]
    answer = get(client, op="online", service="all_of_it", entities={"id": ids}, status=True)
    assert answer.schema.names == [
        "id", *EVERYTHING, "value", "everything__status", "everything__event_timestamp", "reading__status", "reading__event_timestamp",
    ]
    assert answer["id"].to_pylist() == ids
    for kind in KINDS:
        assert answer[f"f_{kind}"].to_pylist() == [None, STORED[kind], None, None, STORED[kind]], kind
        assert answer.schema.field(f"f_{kind}").type == KINDS[kind][1], kind
    assert answer["everything__status"].to_pylist() == ["NULL_VALUE", "PRESENT", "NOT_FOUND", "NOT_FOUND", "PRESENT"]
    assert answer["everything__event_timestamp"].to_pylist() == [NOON, NOON, None, None, NOON]
    assert answer["value"].to_pylist() == [20.0, 12.0, None, None, 12.0]
    assert answer["reading__event_timestamp"].to_pylist()[1] == NOON + 60 * MINUTE

    # A row of nulls is told from no row; one beyond its ttl is not served.
    answer = get(client, op="online", features=["reading", "recent:value"], entities={"id": [3, 1]}, status=True, full_feature_names=True)
    assert answer.schema.names[:3] == ["id", "reading__value", "recent__value"]
    assert answer["reading__status"].to_pylist() == ["NULL_VALUE", "PRESENT"]
    assert answer["recent__status"].to_pylist() == ["OUTSIDE_MAX_AGE", "OUTSIDE_MAX_AGE"]
    assert answer["reading__value"].to_pylist() == [None, 12.0]
    assert answer["recent__value"].to_pylist() == [None, None]

    # Empty lists are no rows, with the schema; a view without keys is one row without any.
    answer = get(client, op="online", service="all_of_it", entities={"id": []})
    assert answer.num_rows == 0 and answer.schema.names == ["id", *EVERYTHING, "value"]
    for entities in ({"entities": {}}, {}):
        assert rows(get(client, op="online", features=["everywhere"], **entities)) == [{"value": 12.0}]
    refused(pa.ArrowInvalid, lambda: get(client, op="online", features=["reading"], entities={}), "entities.id (int64) is missing")

    # A view used twice, once by another column.
    answer = get(client, op="online", service="pair", entities={"id": [1, 2], "other_id": [2, 1]})
    assert rows(answer) == [
        {"id": 1, "other_id": 2, "value": 12.0, "other__value": 20.0},
        {"id": 2, "other_id": 1, "value": 20.0, "other__value": 12.0},
    ], rows(answer)
    features = ["reading", {"view": "reading", "as": "other", "join_keys": {"id": "other_id"}, "features": ["value"]}]
    same(get(client, op="online", features=features, entities={"id": [1, 2], "other_id": [2, 1]}), answer)

    # As the command line has it.
    out = cx.project / "online.parquet"
    entities = [part for i in ids[:3] for part in ("--entity", f"id={i}")]
    provender(cx.binary, cx.project, "online", "--service", "all_of_it", "--status", *entities, "--out", out)
    same(get(client, op="online", service="all_of_it", entities={"id": ids[:3]}, status=True), pq.read_table(out))


def keys_of_all_types(client, cx):
    others = {
        "bool": False, "string": "", "binary": b"", "date": datetime.date(2100, 1, 1), "timestamp": NOON + MINUTE,
    }
    for kind in KEY_KINDS:
        _, arrow, value, spelling, spellings, bad = KINDS[kind]
        other = others.get(kind, 7)
        push = {"op": "push", "view": f"by_{kind}", "to": "online"}
        schema = client.get_schema(descriptor(push)).schema
        batch = pa.RecordBatch.from_pydict(
            {f"k_{kind}": [value, other], "at": [NOON, NOON], "number": [1, 2]}, schema=schema
        )
        assert put(client, push, [batch]) == [{"rows": 2}]
        for spelled in [spelling, *spellings]:
            answer = get(client, op="online", features=[f"by_{kind}"], entities={f"k_{kind}": [spelled, None]})
            assert rows(answer) == [{f"k_{kind}": value, "number": 1}, {f"k_{kind}": None, "number": None}], (kind, rows(answer))
            assert answer.schema.field(0).type == arrow
        for wrong in bad:
            refused(
                pa.ArrowInvalid, lambda: get(client, op="online", features=[f"by_{kind}"], entities={f"k_{kind}": [spelling, wrong]}),
                f"entities.k_{kind} has", "in row 1", "was expected",
            )
        keys = pa.table({f"k_{kind}": pa.array([other, None, value, value], arrow)})
        answer = exchange(client, {"op": "online", "features": [f"by_{kind}"]}, keys.to_batches(), keys.schema)
        assert answer["number"].to_pylist() == [2, None, 1, 1], kind


def request_values(client, cx):
    features = ["echo"]
    request = {f"r_{kind}": spelling for kind, (_, _, _, spelling, *_) in KINDS.items()}
    # A value for all rows; a list stands for one value per row, so lists are always given so.
    for kind in ("list", "embedding"):
        request[f"r_{kind}"] = [request[f"r_{kind}"]] * 2
    ask = {"op": "online", "features": features, "entities": {"id": [1, 9]}}
    answer = get(client, **ask, request=request)
    for kind, (_, arrow, value, *_) in KINDS.items():
        assert answer[f"e_{kind}"].to_pylist() == [value, value], kind
        assert answer.schema.field(f"e_{kind}").type == arrow, kind
    # A value for each row, nulls among them, and all the ways to spell one.
    for kind, (_, _, value, _, spellings, bad) in KINDS.items():
        for spelled in spellings:
            answer = get(client, **ask, request={**request, f"r_{kind}": [spelled, None]})
            assert answer[f"e_{kind}"].to_pylist() == [value, None], (kind, spelled)
        for wrong in bad:
            refused(
                pa.ArrowInvalid, lambda: get(client, **ask, request={**request, f"r_{kind}": [wrong, None]}),
                f"request.r_{kind}", "[P406]",
            )
    answer = get(client, **ask, request={**request, "r_float64": ["NaN", "-Infinity"], "r_float32": "Infinity"})
    assert str(answer["e_float64"].to_pylist()) == "[nan, -inf]"
    assert str(answer["e_float32"].to_pylist()) == "[inf, inf]"
    del request["r_date"]
    refused(pa.ArrowInvalid, lambda: get(client, **ask, request=request), "request.r_date (date) is missing")
    refused(pa.ArrowInvalid, lambda: get(client, **ask, request={**request, "r_date": ["2026-01-01"]}), "request.r_date has 1 values for 2 rows")


def open_stream(client, cx):
    command = {"op": "online", "service": "pair"}
    writer, reader = client.do_exchange(descriptor(command))
    # The schema is there before any key was sent.
    assert reader.schema.names == ["id", "other_id", "value", "other__value"]
    # Any order of columns, and any types that can be read as the declared ones.
    schema = pa.schema([("other_id", pa.dictionary(pa.int8(), pa.int32())), ("id", pa.uint16())])
    writer.begin(schema)

    def ask(ids, others):
        writer.write_batch(pa.RecordBatch.from_arrays(
            [pa.array(others, pa.int32()).dictionary_encode().cast(schema.field(0).type), pa.array(ids, pa.uint16())], schema=schema
        ))
        batches = []
        while True:
            chunk = reader.read_chunk()
            batches.append(chunk.data)
            if chunk.app_metadata is not None:
                return json.loads(chunk.app_metadata.to_pybytes()), pa.Table.from_batches(batches), len(batches)

    for n, (ids, others) in enumerate([([1], [2]), ([], []), ([2, 2, None], [1, None, 9]), ([], [])]):
        metadata, answer, _ = ask(ids, others)
        assert metadata == {"seq": n, "rows": len(ids)}
        values = {1: 12.0, 2: 20.0}
        assert answer["value"].to_pylist() == [values.get(i) for i in ids]
        assert answer["other__value"].to_pylist() == [values.get(i) for i in others]
        assert answer["id"].to_pylist() == ids and answer.schema.field("id").type == pa.int64()
    # An answer that is larger than a message comes in several, of which the last has metadata.
    n_rows = 300_000
    metadata, answer, n_messages = ask([1, 2, 5] * (n_rows // 3), [2, 1, 5] * (n_rows // 3))
    assert metadata == {"seq": 4, "rows": n_rows} and answer.num_rows == n_rows and n_messages > 1, n_messages
    assert answer["value"].to_pylist() == [12.0, 20.0, None] * (n_rows // 3)
    assert max(batch.nbytes for batch in answer.to_batches()) < 4 << 20
    writer.done_writing()
    writer.close()

    for columns, word in (
        ({"id": [1]}, "other_id"),
        ({"id": [1], "other_id": [1], "surplus": [1]}, "surplus"),
        ({"id": ["one"], "other_id": [1]}, "id"),
    ):
        table = pa.table(columns)
        refused(pa.ArrowInvalid, lambda: exchange(client, command, table.to_batches(), table.schema), word)
    # Request fields are columns too.
    fields = {f"r_{kind}": pa.array([value], arrow) for kind, (_, arrow, value, *_) in KINDS.items()}
    keys = pa.table({"id": pa.array([1], pa.int64()), **fields})
    answer = exchange(client, {"op": "online", "features": ["echo"]}, keys.to_batches(), keys.schema)
    assert [answer[f"e_{kind}"][0].as_py() for kind in KINDS] == [value for _, _, value, *_ in KINDS.values()]


def training(client, cx):
    minutes = [0, 59, 60, 120, 60, 60]
    spine = pa.table({
        "label": pa.array(["a", "b", None, "d", "b", "f"]).dictionary_encode(),
        "id": pa.array([1, 1, 1, 1, None, 9], pa.int32()),
        "event_timestamp": pa.array([NOON + m * MINUTE for m in minutes], STAMP),
        "tags": pa.array([[1], [], None, [2, 3], [4], None], pa.list_(pa.int64())),
    })
    command = {"op": "historical", "features": ["reading", "everything:f_string"]}
    expected = [10.0, 10.0, 12.0, 12.0, None, None]
    # Whatever the batches, some of them empty, rows come back in order and with their other columns.
    whole = spine.combine_chunks().to_batches()
    pieces = [whole[0].slice(0, 0), whole[0].slice(0, 4), whole[0].slice(4, 0), whole[0].slice(4, 2)]
    for batches in (whole, pieces):
        answer = exchange(client, command, batches, spine.schema)
        assert answer.schema.names == ["label", "id", "event_timestamp", "tags", "value", "f_string"]
        assert answer["value"].to_pylist() == expected, answer["value"].to_pylist()
        assert answer["f_string"].to_pylist() == [STORED["string"]] * 4 + [None, None]
        assert rows(answer.select(spine.schema.names)) == rows(spine)
    # The correction of 15:00 is not known at 13:00 or 14:00.
    answer = exchange(client, {**command, "as_known": True, "full_feature_names": True}, whole, spine.schema)
    assert answer["reading__value"].to_pylist() == [10.0, 10.0, 11.0, 11.0, None, None], answer["reading__value"]
    for batches in ([], pieces[:1]):
        answer = exchange(client, command, batches, spine.schema)
        assert answer.num_rows == 0 and answer.schema.names[-1] == "f_string"

    # By handle, which counts once; by table; by SQL, of one SELECT; as the command line has it.
    [kept] = put(client, {"op": "spine"}, whole, spine.schema)
    assert kept["rows"] == 6
    by_handle = {**command, "spine": {"handle": kept["handle"]}}
    assert client.get_schema(descriptor(by_handle)).schema.names[-2:] == ["value", "f_string"]
    same(get(client, **by_handle), exchange(client, command, whole, spine.schema))
    refused(pa.ArrowKeyError, lambda: get(client, **by_handle), "names no spine", "[P704]")
    file = cx.project / "spine.parquet"
    pq.write_table(spine, file)
    provender(cx.binary, cx.project, "import", "labels", file)
    out = cx.project / "training.parquet"
    provender(cx.binary, cx.project, "historical", "--features", "reading,everything:f_string", "--spine", file, "--out", out)
    for source in ({"table": "labels"}, {"sql": "SELECT * FROM labels"}):
        same(get(client, **command, spine=source), pq.read_table(out))
    answer = get(client, **command, spine={"sql": "SELECT 2 AS id, TIMESTAMP '2026-01-01T12:00:00Z' AS then"})
    assert answer["value"].to_pylist() == [20.0]
    for sql in ("DROP TABLE labels", "SELECT 1 AS id; SELECT 2 AS id", "COPY labels TO 'x'"):
        refused(pa.ArrowInvalid, lambda: get(client, **command, spine={"sql": sql}))

    untimed = pa.table({"id": [1], "one": pa.array([NOON], STAMP), "two": pa.array([NOON], STAMP)})
    refused(pa.ArrowInvalid, lambda: exchange(client, command, untimed.to_batches(), untimed.schema), "one", "two")
    answer = exchange(client, {**command, "timestamp": "two"}, untimed.to_batches(), untimed.schema)
    assert answer["value"].to_pylist() == [10.0]
    refused(pa.ArrowInvalid, lambda: exchange(client, command, untimed.select(["one"]).to_batches(), untimed.select(["one"]).schema), '"id"')


def pushes(client, cx):
    start, end = NOON + 1000 * MINUTE, NOON + 2000 * MINUTE
    schema = client.get_schema(descriptor({"op": "push", "view": "reading", "to": "both"})).schema

    def batch(*values):
        return kinds_project.readings(values).select(schema.names).cast(schema).combine_chunks().to_batches()[0]

    def offline():
        answer = get(client, op="read", view="reading", start=start.isoformat(), end=end.isoformat())
        return sorted((row["id"], row["value"]) for row in rows(answer))

    def latest(*ids):
        return get(client, op="online", features=["reading"], entities={"id": list(ids)})["value"].to_pylist()

    push = {"op": "push", "view": "reading"}
    assert put(client, {**push, "to": "online"}, [batch((11, 1.0, 1001, 0)), batch((12, None, 1001, 0), (13, 3.0, 1001, 0))]) == [
        {"rows": 1}, {"rows": 2},
    ]
    assert latest(11, 12, 13) == [1.0, None, 3.0] and offline() == []
    assert put(client, {**push, "to": "offline"}, [batch((14, 4.0, 1001, 0)), batch((15, 5.0, 1002, 0))]) == [{"rows": 1}, {"rows": 1}]
    assert latest(14) == [None] and offline() == [(14, 4.0), (15, 5.0)]
    # A retry of the same batches counts once, and one that got further goes on where the first ended.
    both = {**push, "to": "both", "id": "batch-7"}
    first, second = batch((16, 6.0, 1003, 0)), batch((17, 7.0, 1004, 0))
    for batches in ([first], [first, second], [first, second]):
        assert put(client, both, batches) == [{"rows": 1}] * len(batches)
    assert offline() == [(14, 4.0), (15, 5.0), (16, 6.0), (17, 7.0)], offline()
    assert latest(16, 17) == [6.0, 7.0]
    # An older row does not take a newer one's place; empty batches and streams are acknowledged.
    put(client, {**push, "to": "online"}, [batch((16, 0.0, 1002, 0))])
    assert latest(16) == [6.0]
    assert put(client, {**push, "to": "both"}, [batch((18, 8.0, 1005, 0)).slice(0, 0)]) in ([], [{"rows": 0}])
    assert put(client, {**push, "to": "both"}, [], schema) == []
    # Each is acknowledged while the stream is open.
    writer, replies = client.do_put(descriptor({**push, "to": "both", "id": "open"}), schema)
    with writer:
        for i in range(3):
            writer.write_batch(batch((20 + i, float(i), 1006, 0)))
            assert json.loads(replies.read().to_pybytes()) == {"rows": 1}
            assert latest(20 + i) == [float(i)] and (20 + i, float(i)) in offline()
        writer.done_writing()
    # (start, end]
    read = {"op": "read", "view": "reading", "start": "2026-01-01T12:00:00Z"}
    assert sorted(set(get(client, **read, end=(NOON + 60 * MINUTE).isoformat())["value"].to_pylist())) == [11.0, 12.0]
    assert get(client, **read, end="2026-01-01T12:00:00Z").num_rows == 0
    assert get(client, op="read", view="reading", end="2026-01-01T12:00:00Z").num_rows == 3
    assert rows(get(client, op="read", view="everything", end=int(NOON.timestamp() * 1e6)).select(["f_map"])) == [
        {"f_map": STORED["map"]}, {"f_map": None},
    ]

    table = pa.table({"id": [1], "value": [1.0]})
    refused(pa.ArrowInvalid, lambda: put(client, {**push, "to": "both"}, table.to_batches()), "lack at (event time")
    refused(pa.ArrowInvalid, lambda: put(client, {**push, "to": "all"}, [first]), "to", "`both`")
    refused(pa.ArrowKeyError, lambda: put(client, {**push, "view": "readings", "to": "both"}, [first]), 'did you mean "reading"')
    return offline()


def actions(client, cx):
    names = [action.type for action in client.list_actions()]
    assert names == ["plan", "apply", "materialize", "list", "describe", "status", "health"]
    [health] = act(client, "health")
    assert health["status"] == "serving" and health["project"] == "kinds"
    [listed] = act(client, "list", {})
    assert {"reading", "pair", "item"} <= {entry["name"] for entry in listed}
    [described] = act(client, "describe", {"name": "reading"})
    assert [feature["name"] for feature in described["features"]] == ["value"]
    [status] = act(client, "status")
    [reading] = [view for view in status if view["view"]["view"] == "reading"]
    assert reading["online"] and reading["n_rows"] >= 3

    # What the folder has is applied; more of it by content.
    [plan] = act(client, "plan")
    assert plan["project"] == "kinds" and plan["entries"] == [], plan
    more = kinds_project.definitions().replace("online: false", "online: true")
    files = {"files": {"features/all.yaml": more}}
    [plan] = act(client, "plan", files)
    assert [(entry["action"], entry["name"]) for entry in plan["entries"]] == [("update", "training_only")], plan
    [before] = act(client, "health")
    act(client, "apply", {**files, "message": "online now"})
    [after] = act(client, "health")
    assert after["revision"] != before["revision"]
    steps = act(client, "materialize", {"start": "2025-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z", "views": ["training_only"]})
    assert steps[-1] == {"done": True, "views": 1}
    assert [step for step in steps if "rows" in step][0]["view"] == "training_only"
    # A service without data for its view was refused before, and is answered now.
    answer = get(client, op="online", features=["training_only"], entities={"id": [1, 2]})
    assert answer["value"].to_pylist()[1] == 20.0

    refused(pa.ArrowInvalid, lambda: act(client, "materialise"), 'did you mean "materialize"')
    refused(pa.ArrowInvalid, lambda: act(client, "describe", {"nam": "reading"}), "nam", "describe")
    refused(pa.ArrowInvalid, lambda: act(client, "materialize", {"start": "2025-01-01T00:00:00Z"}), '"end" is missing')
    refused(pa.ArrowInvalid, lambda: act(client, "apply", {"files": {"features/a.yaml": "sources: 1"}}), "features/a.yaml:1")
    refused(pa.ArrowInvalid, lambda: act(client, "apply", {"files": {}}))
    refused(pa.ArrowKeyError, lambda: act(client, "describe", {"name": "readin"}), 'did you mean "reading"')


class Checked:
    def __init__(self, binary, project):
        self.binary, self.project = binary, pathlib.Path(project)


def main(binary, folder):
    cx = Checked(binary, pathlib.Path(folder) / "kinds")
    kinds_project.make(binary, cx.project)
    provender(binary, cx.project, "materialize", "2025-01-01", "2026-02-01")
    checks = [discovery, online, keys_of_all_types, request_values, open_stream, training, flight_failures.errors, pushes, actions, flight_failures.unfinished]
    with Server(binary, cx.project) as server, server.connect() as client:
        for check in checks:
            check(client, cx)
    config = cx.project / "provender.yaml"
    config.write_text(config.read_text() + "server: {max_message_bytes: 64KiB, max_background_calls: 1}\n")
    with Server(binary, cx.project) as server, server.connect() as client:
        flight_failures.limits(client, cx)
    flight_failures.damage(cx)
    with Server(binary, cx.project) as server, server.connect() as client:
        flight_failures.damaged(client, cx)
    log = (cx.project / "serve.log").read_text()
    assert "panic" not in log and "ERROR" not in log, log
    print(f"{len(checks) + 2} checks agree")


if __name__ == "__main__":
    main(*sys.argv[1:])
