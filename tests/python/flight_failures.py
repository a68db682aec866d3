"""The part of check_flight.py that goes wrong: each kind of error as pyarrow shows it."""

import threading
import time

import pyarrow as pa
import pyarrow.flight as flight

from kinds_project import NOON, STAMP, STORED
from served import act, descriptor, exchange, get, put, refused, ticket


def errors(client, cx):
    wrong = [
        (b"x", "no JSON"), (b"[]", "no JSON object"), (b"{}", 'no field "op"'), (b'{"op":1}', "no string"), (b"\xff\xfe", "no JSON"),
        (b"", ""), (b'{"op":"onlin"}', 'did you mean "online"'), (b'{"op":"online"}', 'neither "service" nor "features"'),
        (b'{"op":"online","service":"pair","features":["reading"],"entities":{}}', "both"),
        (b'{"op":"online","service":"pair","entitys":{}}', "entitys"), (b'{"op":"online","features":[],"entities":{}}', "empty"),
        (b'{"op":"online","features":["reading"],"entities":{"id":1}}', "no array"),
        (b'{"op":"online","features":["reading"],"entities":{"id":[1],"ids":[1]}}', "entities.ids"),
        (b'{"op":"online","service":"pair","entities":{"id":[1],"other_id":[1,2]}}', "2 values"),
        (b'{"op":"historical","features":["reading"]}', "spine"), (b'{"op":"read","view":"reading","start":"then"}', "start"),
        (b'{"op":"push","view":"reading","to":"both"}', "DoPut"), (b'{"op":"spine"}', "DoPut"),
        (b'{"op":"online","features":[{"view":"reading","az":"b"}],"entities":{"id":[1]}}', "features[0]", "unknown field `az`", "join_keys"),
        (b'{"op":"online","features":[{"as":"x"}],"entities":{"id":[1]}}', "features[0]", "missing field `view`"),
        (b'{"op":"online","features":["reading",7],"entities":{"id":[1]}}', "features[1]", "integer `7`", "view:feature"),
        (b'{"op":"online","features":[{"view":"reading","features":"value"}],"entities":{"id":[1]}}', "features[0].features", "a sequence"),
        (b'{"op":"online","features":"reading","entities":{"id":[1]}}', "features", "a sequence"),
        (b'{"op":"online","features":["reading"],"entities":[1]}', "entities", "no object"),
        (b'{"op":"online","features":["reading"],"entities":{"id":[1]},"request":7}', "request", "no object"),
        (b'{"op":"online","features":["reading"],"entities":{"id":[1]},"status":"yes"}', "status", "a boolean"),
        (b'{"op":"online","features":["reading"],"entities":{"id":[[1]]}}', "entities.id has [1] in row 0", "int64"),
        (b'{"op":"online","features":["reading"],"entities":{"id":[1.0]}}', "entities.id has 1.0 in row 0", "int64"),
        (b'{"op":"online","features":["reading"],"entities":{"id":[18446744073709551616]}}', "entities.id has", "int64"),
        (b'{"op":"historical","features":["reading"],"status":true,"spine":{"table":"readings"}}', "status"),
        (b'{"op":"historical","features":["reading"],"spine":{"table":"readings","sql":"x"}}', "spine"),
        (b'{"op":"historical","features":["reading"],"spine":"readings"}', "spine"),
        (b'{"op":"historical","features":["reading"],"spine":{"sql":"SELECT 1; SELECT 2"}}', "SELECT"),
        (b'{"op":"historical","features":["reading"],"spine":{"sql":"DELETE FROM readings"}}', "SELECT"),
        (b'{"op":"historical","features":["reading"],"spine":{"sql":"CREATE TABLE x AS SELECT 1"}}', "SELECT"),
        (b'{"op":"read","view":["reading"]}', "view", "a string"), (b'{"op":"read"}', "view"),
        (b'{"op":"read","view":"reading","start":1.5}', "start", "microseconds"),
    ]
    for command, *words in wrong:
        refused(pa.ArrowInvalid, lambda: client.do_get(flight.Ticket(command)).read_all(), *words)
    for command in ({"op": "online", "service": "pairs"}, {"op": "online", "features": ["readin"]}, {"op": "read", "view": "readin"}):
        refused(pa.ArrowKeyError, lambda: get(client, **command), "did you mean")
    for command in ({"op": "push", "view": "reading", "to": "both"}, {"op": "read", "view": "reading"}, {"op": "online", "service": "pairs"}):
        kind = pa.ArrowKeyError if command["op"] == "online" else pa.ArrowInvalid
        table = pa.table({"id": [1]})
        refused(kind, lambda: exchange(client, command, table.to_batches(), table.schema))

    # A view that is kept out of the online store; a deadline; a server that is not there.
    refused(pa.ArrowInvalid, lambda: get(client, op="online", features=["training_only"], entities={"id": [1]}), "precondition failed", "online: false")
    options = flight.FlightCallOptions(timeout=1e-6)
    refused(flight.FlightTimedOutError, lambda: client.do_get(ticket({"op": "read", "view": "reading"}), options).read_all())
    refused(flight.FlightUnavailableError, lambda: list(flight.connect("grpc://127.0.0.1:1").list_flights()))


def limits(client, cx):
    """With messages of at most 64 KiB and one background call at a time."""
    schema = client.get_schema(descriptor({"op": "push", "view": "everything", "to": "online"})).schema
    columns = {name: [None] for name in schema.names}
    columns |= {"id": [77], "at": [NOON], "created": [NOON], "f_binary": [b"x" * 200_000]}
    put(client, {"op": "push", "view": "everything", "to": "online"}, [pa.RecordBatch.from_pydict(columns, schema=schema)])
    refused(
        pa.ArrowInvalid, lambda: get(client, op="online", features=["everything"], entities={"id": [77]}),
        "resource exhausted", "one row takes", "server.max_message_bytes",
    )
    # Others go on, in smaller messages.
    reader = client.do_get(ticket({"op": "online", "features": ["reading"], "entities": {"id": [1, 2] * 5_000}}))
    chunks = list(reader)
    assert len(chunks) > 1 and sum(chunk.data.num_rows for chunk in chunks) == 10_000
    assert max(chunk.data.nbytes for chunk in chunks) < 64 << 10

    spine = pa.table({"id": [1], "at": pa.array([NOON], STAMP)})
    historical = {"op": "historical", "features": ["reading"]}
    writer, reader = client.do_exchange(descriptor(historical))
    with writer:
        writer.begin(spine.schema)
        # The answer's schema says that this call is at work.
        assert reader.schema.names == ["id", "at", "value"]
        writer.write_table(spine)
        refused(
            pa.ArrowInvalid, lambda: exchange(client, historical, spine.to_batches(), spine.schema), "resource exhausted", "max_background_calls",
        )
        assert get(client, op="online", features=["reading"], entities={"id": [1]}).num_rows == 1
        writer.done_writing()
        assert reader.read_all().num_rows == 1
    # A client that goes away frees its place, whether it says so or runs out of time.
    refused(flight.FlightTimedOutError, lambda: client.do_get(ticket(MANY_ROWS), flight.FlightCallOptions(timeout=0.2)).read_all())
    for _ in range(600):
        try:
            exchange(client, historical, spine.to_batches(), spine.schema)
            break
        except pa.ArrowInvalid as error:
            assert "max_background_calls" in str(error), error
            time.sleep(0.05)
    assert exchange(client, historical, spine.to_batches(), spine.schema).num_rows == 1


MANY_ROWS = {
    "op": "historical", "features": ["everything"], "timestamp": "t",
    "spine": {"sql": "SELECT value AS id, TIMESTAMP '2026-01-02T00:00:00Z' AS t FROM generate_series(1, 2000000)"},
}


def unfinished(client, cx):
    """Calls that the client or somebody else ends."""
    refused(pa.ArrowNotImplementedError, lambda: client.authenticate_basic_token("name", "word"), "no handshake", "authorization")

    def cancel():
        reader = client.do_get(ticket(MANY_ROWS))
        next(reader)
        reader.cancel()
        for _ in reader:
            pass

    refused(flight.FlightCancelledError, cancel)
    options = flight.FlightCallOptions(timeout=0.2)
    refused(flight.FlightTimedOutError, lambda: client.do_get(ticket(MANY_ROWS), options).read_all())

    # Of two runs over the same views at once, one is told that the other is at work.
    answers = []

    def materialize():
        try:
            answers.append(act(client, "materialize", {"start": "2025-01-01T00:00:00Z", "end": "2026-03-01T00:00:00Z"}))
        except (pa.ArrowException, flight.FlightError) as error:
            answers.append(error)

    for _ in range(50):
        pair = [threading.Thread(target=materialize) for _ in range(2)]
        for thread in pair:
            thread.start()
        for thread in pair:
            thread.join()
        failed = [answer for answer in answers if not isinstance(answer, list)]
        if failed:
            break
    assert type(failed[0]) is flight.FlightInternalError and "aborted" in str(failed[0]), failed


def damage(cx):
    """Overwrites bytes of the one stored row that has a text, with the server stopped."""
    file = cx.project / ".provender/online/kinds/everything@1/0001/data.mdb"
    stored, mark = file.read_bytes(), STORED["string"].encode()
    assert mark in stored
    file.write_bytes(stored.replace(mark, bytes(len(mark))))


def damaged(client, cx):
    ask = {"op": "online", "features": ["everything:f_string"], "entities": {"id": [1, 2]}}
    refused(flight.FlightInternalError, lambda: get(client, **ask), "data loss", "[P603]", "with status")
    answer = get(client, **ask, status=True)
    assert answer["everything__status"].to_pylist() == ["ERROR", "NULL_VALUE"]
    assert answer["f_string"].to_pylist() == [None, None]
