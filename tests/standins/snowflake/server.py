"""A Snowflake account for tests: fakesnow (DuckDB behind Snowflake's protocol), made to answer more
like the service, and to fail like it when a test asks for that.

Run: server.py [--parent] [--history] [--tls CERTIFICATE KEY]
It prints its port on one line. With --parent it ends when its input does; with --history it keeps past states of
tables, which AT(TIMESTAMP => ...) reads; with --tls it speaks TLS with a certificate and key (PEM files).

A session's QUERY_TAG may be a JSON object that says how this session is answered:
  chunk_rows      rows of the first part and of each chunk of a result (10000)
  realism         numbers as scaled integers of the narrowest width, as the service sends them (false)
  ts_scale        with realism: times without a zone as integers of so many digits after the second
  name            whose log this session's statements go to, and whose faults are counted together
  in_progress     each statement is told to be in progress so many times before its result
  slow            statements that hold this text are in progress until they are aborted
Faults, each for so many of the next requests of that name:
  throttle 429, unavailable 503 before anything is done, lost_answer 503 after it was done,
  expire (the token has to be renewed), gone (the session has ended),
  chunk_unavailable 503, chunk_cut (half a chunk)

GET /standin/state[?name=N]  what happened under a name: statements, aborts, sessions, temporary tables
POST /standin/key            {"user", "pem"}: the public key that logins of a user are checked with
POST /standin/expire         {"name"}: ends the sessions of a name, as the service ends idle ones
"""

import asyncio
import base64
import datetime
import gzip
import hashlib
import io
import itertools
import json
import logging
import os
import re
import secrets
import socket
import sys
import threading
import time
import uuid
import warnings
from collections import OrderedDict, defaultdict

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)

import duckdb
import fakesnow.cursor as fcur
import fakesnow.rowtype as frow
import fakesnow.server as fsrv
import fakesnow.transforms as ftr
import jwt
import pyarrow as pa
import pyarrow.compute as pc
import uvicorn
from cryptography.hazmat.primitives import serialization
from snowflake.connector.errors import ProgrammingError
from sqlglot import exp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

OPTIONS = {"chunk_rows": 10_000, "realism": False, "ts_scale": None, "name": "", "in_progress": 0, "slow": None}
FAULTS = ("throttle", "unavailable", "lost_answer", "expire", "gone", "chunk_unavailable", "chunk_cut")

# --- what DuckDB spells otherwise -------------------------------------------------------------

_parse = fcur.parse_one


def parse_one(sql):
    """ASOF JOIN ... MATCH_CONDITION(c) ON p becomes DuckDB's ASOF LEFT JOIN; VECTOR a fixed-size list."""
    tree = _parse(sql)
    for join in tree.find_all(exp.Join):
        if condition := join.args.get("match_condition"):
            on = join.args.get("on")
            join.set("match_condition", None)
            join.set("on", exp.and_(condition.copy(), on.copy() if on else None))
            join.set("side", "LEFT")
    for kind in list(tree.find_all(exp.DataType)):
        if kind.this == exp.DataType.Type.VECTOR:
            size = [e for e in kind.expressions if e.name.isdigit() or e.find(exp.Literal)][-1]
            number = size.find(exp.Literal)
            text = f"REAL[{number.name if number else size.name}]"
            kind.replace(exp.DataType(this=exp.DataType.Type.USERDEFINED, kind=text))
    # Temporary tables of DuckDB lie in a catalogue of their own.
    if isinstance(tree, exp.Create) and tree.find(exp.TemporaryProperty) and (table := tree.find(exp.Table)):
        temporary_names.add(table.name)
    for table in tree.find_all(exp.Table):
        if table.name in temporary_names:
            table.set("db", None)
            table.set("catalog", None)
        if when := table.args.get("when"):
            past_state(table, when)
    return tree


# --- time travel ------------------------------------------------------------------------------

# What each table was after each change of it: copies in a schema of their own, by instants in microseconds.
PAST = "STANDIN_PAST"
past: dict[tuple[str, str, str], list[tuple[int, str]]] = defaultdict(list)
copies = itertools.count()


def past_state(table, when):
    """A table AT(TIMESTAMP => t) becomes its copy after the last change up to t."""
    if when.name.upper() != "AT" or when.text("kind").upper() != "TIMESTAMP":
        raise ProgrammingError(msg=f"Unsupported time travel: {when}", errno=2140, sqlstate="42601")
    text = when.expression.find(exp.Literal).name
    at = datetime.datetime.fromisoformat(text).timestamp()
    key = (table.catalog, table.db, table.name)
    # A hair more than the float of the instant, which may lie below it.
    states = [copy for us, copy in past[key] if us <= round(at * 1_000_000)]
    if not states:
        raise ProgrammingError(
            msg=f"Time travel data is not available for table {table.name}. The requested time is either beyond the "
                "allowed time travel period or before the object creation time.", errno=707, sqlstate="02000")
    table.set("when", None)
    table.set("db", exp.to_identifier(PAST, quoted=True))
    table.set("this", exp.to_identifier(states[-1], quoted=True))


def changed_table(sql, session):
    """The table that a statement changes, in parts, and whether it makes it anew; None if it changes none
    that has a past."""
    tree = _parse(sql)
    if not isinstance(tree, (exp.Insert, exp.Delete, exp.Merge, exp.Update, exp.Create)):
        return None
    if isinstance(tree, exp.Create) and tree.args.get("kind") != "TABLE":
        return None
    table = tree.this.find(exp.Table)
    if table is None or table.name in temporary_names:
        return None
    part = lambda node, default: default if node is None else node.name if node.args.get("quoted") else node.name.upper()
    name = (part(table.args.get("catalog"), session.conn.database), part(table.args.get("db"), session.conn.schema),
            part(table.this, None))
    return name, isinstance(tree, exp.Create) and not tree.args.get("exists")


def remember(session, sql):
    """Keeps the states of tables that a successful statement has left behind."""
    words = sql.split(None, 2)[:2] + [""]
    match words[0].upper():
        case "BEGIN":
            session.changed = set()
            return
        case "ROLLBACK":
            session.changed = None
            return
        case "COMMIT":
            changed, session.changed = session.changed or set(), None
        case "INSERT" | "DELETE" | "MERGE" | "UPDATE" | "CREATE":
            found = changed_table(sql, session)
            if found is None:
                return
            table, is_new = found
            if is_new:
                # The past of a table that was replaced is not that of the one which has its name.
                past.pop(table, None)
            if session.changed is not None:
                session.changed.add(table)
                return
            changed = {table}
        case _:
            return
    quoted = lambda *names: ".".join('"' + name.replace('"', '""') + '"' for name in names)
    for table in changed:
        copy = f"{table[1]}.{table[2]}@{next(copies)}"
        duck = session.conn._duck_conn
        duck.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(table[0], PAST)}")
        duck.execute(f"CREATE TABLE {quoted(table[0], PAST, copy)} AS SELECT * FROM {quoted(*table)}")
        past[table].append((time.time_ns() // 1000, copy))


temporary_names: set[str] = set()
fcur.parse_one = fsrv.parse_one = parse_one
# DuckDB has MERGE by now; fakesnow's own way takes several statements and writes two databases.
ftr.merge = lambda expression: [expression]
_execute = fcur.FakeSnowflakeCursor._execute


def execute_statement(self, transformed, params=None):
    """Runs MERGE as it is, and tells a conflict of transactions as the service tells a lock."""
    try:
        if isinstance(transformed, exp.Merge):
            n_rows = self._duck_conn.execute(transformed.sql(dialect="duckdb"), params).fetchone()[0]
            transformed = exp.select(exp.alias_(exp.Literal.number(n_rows), "number of rows inserted", quoted=True))
            params = None
        _execute(self, transformed, params)
    except (duckdb.TransactionException, duckdb.ConstraintException) as error:
        raise ProgrammingError(msg=f"Statement was aborted because of a lock. {error}", errno=625, sqlstate="57014") from None


fcur.FakeSnowflakeCursor._execute = execute_statement
_integer_precision = ftr.integer_precision


def integer_precision(expression):
    """NUMBER(38, 0) has 38 digits; fakesnow would hold it in 64 bits."""
    if isinstance(expression, exp.DataType) and expression.this == exp.DataType.Type.DECIMAL:
        if not expression.expressions:
            return exp.DataType.build("DECIMAL(38, 0)")
        return expression
    return _integer_precision(expression)


ftr.integer_precision = integer_precision
# SUM of NUMBER is exact in Snowflake; fakesnow would make it a float.
ftr.numeric_agg_implicit_cast = lambda expression: expression
frow.duckdb_to_sf_type.update(
    {"INT128": "fixed", "HUGEINT": "fixed", "SMALLINT": "fixed", "TINYINT": "fixed", "UINTEGER": "fixed",
     "USMALLINT": "fixed", "UTINYINT": "fixed", "FLOAT": "real", "REAL": "real", "TIMESTAMP_S": "timestamp_ntz",
     "TIMESTAMP_MS": "timestamp_ntz", "TIMESTAMPTZ": "timestamp_tz"})
_describe = frow.describe_as_rowtype


def describe_as_rowtype(results):
    out = []
    for row in results:
        if vector := re.fullmatch(r"(?:FLOAT|REAL|DOUBLE)\[(\d+)\]", row[1]):
            info = _describe([(row[0], "VARCHAR", *row[2:])])[0]
            info.update(type="vector", vectorDimension=int(vector[1]), length=None, byteLength=None,
                        fields=[{"type": "real"}])
            out.append(info)
        else:
            out.extend(_describe([row]))
    return out


frow.describe_as_rowtype = fsrv.describe_as_rowtype = describe_as_rowtype
if hasattr(fcur, "describe_as_rowtype"):
    fcur.describe_as_rowtype = describe_as_rowtype

# --- encodings --------------------------------------------------------------------------------


def narrowest(column, scale):
    """Unscaled values in the narrowest integers that hold all of them, as FIXED is sent."""
    if pa.types.is_decimal(column.type):
        values = [None if v is None else int(v.scaleb(scale)) for v in column.to_pylist()]
        if any(v is not None and not -(1 << 63) <= v < 1 << 63 for v in values):
            return column
        wide = pa.array(values, pa.int64())
    elif pa.types.is_integer(column.type):
        wide = column.combine_chunks().cast(pa.int64()) if isinstance(column, pa.ChunkedArray) else column.cast(pa.int64())
    else:
        return column
    ends = pc.min_max(wide).as_py()
    low, high = ends["min"] or 0, ends["max"] or 0
    for kind, bits in ((pa.int8(), 7), (pa.int16(), 15), (pa.int32(), 31)):
        if -(1 << bits) <= low and high < 1 << bits:
            return wide.cast(kind)
    return wide


def encoded(table, options):
    """Columns as the service sends them; also, fakesnow leaves nulls inside of structs without one."""
    columns, fields = [], []
    for field, column in zip(table.schema, table.columns):
        metadata = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
        kind = field.type
        if pa.types.is_struct(kind) and kind.num_fields and kind[0].name == "epoch":
            rows = column.combine_chunks()
            if isinstance(rows, pa.ChunkedArray):
                rows = pa.concat_arrays(rows.chunks) if rows.num_chunks else pa.array([], kind)
            is_null = pc.is_null(rows.field(0))
            parts = [pc.fill_null(rows.field(i), 0) for i in range(kind.num_fields)]
            if options["realism"] and options["ts_scale"] is not None and kind.num_fields == 2:
                digits = int(options["ts_scale"])
                value = pc.add(pc.multiply(parts[0], 10**digits),
                               pc.divide(parts[1].cast(pa.int64()), 10 ** (9 - digits)))
                column = pc.if_else(is_null, pa.scalar(None, pa.int64()), value)
                metadata["scale"] = str(digits)
                field = pa.field(field.name, column.type, True, metadata)
            else:
                column = pa.StructArray.from_arrays(parts, fields=[kind[i] for i in range(kind.num_fields)], mask=is_null)
        elif pa.types.is_fixed_size_list(kind):
            column = column.cast(pa.list_(pa.float32(), kind.list_size))
            field = pa.field(field.name, column.type, True, metadata)
        elif metadata.get("logicalType") == "FIXED" and options["realism"]:
            column = narrowest(column, int(metadata["scale"]))
            field = pa.field(field.name, column.type, True, metadata)
        elif metadata.get("logicalType") == "REAL" and kind == pa.float32():
            column = column.cast(pa.float64())
            field = pa.field(field.name, column.type, True, metadata)
        columns.append(column)
        fields.append(field)
    return pa.table(columns, schema=pa.schema(fields))


def ipc(table):
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


# --- state ------------------------------------------------------------------------------------


class Session:
    def __init__(self, conn, options, faults_name):
        self.conn, self.options, self.name = conn, options, faults_name
        self.lock = asyncio.Lock()
        self.token = None
        # The tables that the open transaction has changed; None outside of one.
        self.changed = None


class Log:
    def __init__(self):
        self.statements, self.aborts, self.renewals, self.logins, self.chunks = [], [], 0, 0, 0
        self.login = None


sessions: dict[str, Session] = {}           # by token, renewed ones too
masters: dict[str, Session] = {}
faults: dict[str, dict[str, int]] = {}
logs: dict[str, Log] = defaultdict(Log)
chunks: dict[str, tuple[str, bytes]] = {}
answered: OrderedDict[str, dict] = OrderedDict()   # by request id
running: dict[str, dict] = {}                # statements in progress, by query id
keys: dict[str, str] = {}


def fault(name, kind):
    left = faults.get(name, {})
    if left.get(kind, 0) > 0:
        left[kind] -= 1
        return True
    return False


def refusal(code, message, status=200, data=None):
    return JSONResponse({"data": data or {"errorCode": code}, "code": code, "message": message, "success": False}, status)


async def body_of(request):
    raw = await request.body()
    return json.loads(gzip.decompress(raw) if request.headers.get("content-encoding") == "gzip" else raw or b"null")


# --- the protocol -----------------------------------------------------------------------------


def check_jwt(data):
    user = data["LOGIN_NAME"].upper()
    key = serialization.load_pem_public_key(keys[user].encode())
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    fingerprint = base64.b64encode(hashlib.sha256(der).digest()).decode()
    claims = jwt.decode(data["TOKEN"], key, algorithms=["RS256"])
    subject = f"{data['ACCOUNT_NAME'].upper()}.{user}"
    assert claims["sub"] == subject and claims["iss"] == f"{subject}.SHA256:{fingerprint}", "another key or account"


async def login(request: Request):
    data = (await body_of(request))["data"]
    how = data.get("AUTHENTICATOR", "SNOWFLAKE")
    if how == "SNOWFLAKE_JWT":
        try:
            check_jwt(data)
        except Exception as error:
            return refusal("390144", f"JWT token is invalid. [{error!r}]")
    elif how == "OAUTH" and data.get("TOKEN") != "oauth-canary-token":
        return refusal("390318", "OAuth access token expired.")
    elif how == "PROGRAMMATIC_ACCESS_TOKEN" and data.get("TOKEN") != "pat-canary-token":
        return refusal("394400", "Programmatic access token is invalid.")
    elif how == "SNOWFLAKE" and data.get("PASSWORD") != "password-canary":
        return refusal("390100", "Incorrect username or password was specified.")
    parameters = data.get("SESSION_PARAMETERS", {})
    options = dict(OPTIONS)
    tag = str(parameters.get("QUERY_TAG", ""))
    if tag.startswith("{"):
        options.update(json.loads(tag))
    name = options["name"]
    if name not in faults:
        faults[name] = {kind: int(options.get(kind, 0)) for kind in FAULTS}
    answer = await fsrv.login_request(request)
    told = json.loads(answer.body)
    token = told["data"]["token"]
    session = Session(fsrv.sessions[token], options, name)
    session.token = token
    sessions[token] = session
    master = "M" + token
    masters[master] = session
    logs[name].logins += 1
    logs[name].login = {"parameters": parameters, **request.query_params}
    told["data"].update(
        sessionId=time.time_ns() // 1000, masterToken=master, masterValidityInSeconds=14400, validityInSeconds=3600)
    told["data"]["sessionInfo"].update(
        roleName=request.query_params.get("roleName", "PUBLIC"), warehouseName=request.query_params.get("warehouse"))
    told["data"]["parameters"] += [{"name": k, "value": v} for k, v in parameters.items()]
    told.update(code=None, message=None)
    return JSONResponse(told)


def session_of(request):
    return sessions.get(fsrv.to_token(request))


def end(session):
    for known in (sessions, masters):
        for token in [t for t, s in known.items() if s is session]:
            del known[token]
    fsrv.sessions.pop(session.token, None)
    session.conn.close()


async def renew(request: Request):
    session = masters.get(fsrv.to_token(request))
    if session is None:
        return refusal("390114", "Authentication token has expired. The user must authenticate again.")
    logs[session.name].renewals += 1
    token = secrets.token_urlsafe(32)
    for old in [t for t, s in sessions.items() if s is session]:
        del sessions[old]
    sessions[token] = session
    return JSONResponse({"data": {
        "sessionToken": token, "validityInSecondsST": 3600, "masterToken": fsrv.to_token(request),
        "validityInSecondsMT": 14400, "sessionId": 1}, "code": None, "message": None, "success": True})


async def close(request: Request):
    session = session_of(request)
    if session is None:
        return refusal("390111", "Session no longer exists. New login required to access the service.")
    if request.query_params.get("delete"):
        async with session.lock:
            end(session)
    return JSONResponse({"data": None, "code": None, "message": None, "success": True})


async def query(request: Request):
    session = session_of(request)
    if session is None:
        return refusal("390112", "Your session has expired. Please login again.") if fsrv.to_token(request) in masters \
            else refusal("390111", "Session no longer exists. New login required to access the service.")
    name = session.name
    if fault(name, "throttle"):
        return JSONResponse({}, 429, headers={"retry-after": "0"})
    if fault(name, "unavailable"):
        return Response("<html>unavailable</html>", 503)
    if fault(name, "expire"):
        return refusal("390112", "Your session has expired. Please login again.")
    if fault(name, "gone"):
        end(session)
        return refusal("390111", "Session no longer exists. New login required to access the service.")
    request_id = request.query_params.get("requestId", "")
    # A request that was seen is answered with what came of it.
    if request_id and request_id in answered:
        return JSONResponse(answered[request_id])
    data = await body_of(request)
    sql = data["sqlText"]
    slow = session.options["slow"]
    if slow and slow in sql and not data.get("describeOnly"):
        query_id = str(uuid.uuid4())
        running[query_id] = {"polls": None, "answer": None, "request": request_id, "name": name}
        logs[name].statements.append({"sql": sql, "ok": None})
        return in_progress(query_id)
    async with session.lock:
        answer = await execute(request, session, data, sql)
    answered[request_id] = answer
    while len(answered) > 500:
        answered.popitem(last=False)
    if fault(name, "lost_answer"):
        return Response("<html>lost</html>", 503)
    if session.options["in_progress"] and not data.get("describeOnly"):
        query_id = str(uuid.uuid4())
        running[query_id] = {"polls": int(session.options["in_progress"]), "answer": answer, "request": request_id, "name": name}
        return in_progress(query_id)
    return JSONResponse(answer)


def in_progress(query_id, code="333333"):
    return JSONResponse({
        "data": {"queryId": query_id, "getResultUrl": f"/queries/{query_id}/result", "queryAbortsAfterSecs": 300,
                 "progressDesc": None},
        "code": code, "message": "Query execution in progress.", "success": True})


async def result(request: Request):
    query_id = request.path_params["query_id"]
    state = running.get(query_id)
    if state is None:
        return refusal("000709", "Statement not found")
    if state.get("aborted"):
        return refusal("000604", "SQL execution canceled", data={"errorCode": "000604", "sqlState": "57014"})
    if state["polls"] is None or state["polls"] > 1:
        if state["polls"] is not None:
            state["polls"] -= 1
        # Asked again, the service answers another code than at first.
        return in_progress(query_id, "333334")
    del running[query_id]
    return JSONResponse(state["answer"])


async def abort(request: Request):
    data = await body_of(request)
    for state in running.values():
        if state["request"] == data.get("requestId"):
            state["aborted"] = True
            logs[state["name"]].aborts.append(data.get("sqlText"))
            return JSONResponse({"data": None, "code": None, "message": None, "success": True})
    return refusal("000605", "Invalid queryID")


async def execute(request, session, data, sql):
    # fakesnow knows one token of the session.
    scope = dict(request.scope)
    headers = [(k, v) for k, v in scope["headers"] if k not in (b"authorization", b"content-encoding")]
    scope["headers"] = headers + [(b"authorization", f'Snowflake Token="{session.token}"'.encode())]
    raw = json.dumps(data).encode()

    async def receive():
        return {"type": "http.request", "body": raw, "more_body": False}

    answer = await fsrv.query_request(Request(scope, receive))
    told = json.loads(answer.body)
    if not data.get("describeOnly"):
        logs[session.name].statements.append({"sql": sql, "ok": told.get("success"), "message": told.get("message")})
        if told.get("success") and "--history" in sys.argv:
            await asyncio.to_thread(remember, session, sql)
    if not told.get("success"):
        inner = told.get("data") or {}
        code = inner.get("errorCode") or told.get("code") or "000000"
        told["code"] = code
        told["data"] = {"age": 0, "internalError": answer.status_code >= 500, "queryId": str(uuid.uuid4()), "line": -1,
                        "pos": -1, "type": "COMPILATION", **inner, "errorCode": code,
                        "sqlState": inner.get("sqlState") or "42000"}
        return told
    inner = told["data"]
    if "rowtype" in inner:
        if session.options["realism"] and session.options["ts_scale"] is not None:
            for column in inner["rowtype"]:
                if column["type"] == "timestamp_ntz":
                    column["scale"] = int(session.options["ts_scale"])
        inner.update(returned=inner["total"], version=1, finalRoleName="PUBLIC", databaseProvider=None,
                     finalWarehouseName=None, numberOfBinds=0)
        if text := inner.get("rowsetBase64"):
            table = pa.ipc.open_stream(base64.b64decode(text)).read_all()
            inner.update(await asyncio.to_thread(parts, table, session, f"{request.url.scheme}://{request.url.netloc}"))
    told.update(code=None, message=None)
    return told


def parts(table, session, base):
    options = session.options
    n_rows = int(options["chunk_rows"])
    send = lambda at: ipc(encoded(table.slice(at, n_rows), options))
    found = {"rowsetBase64": base64.b64encode(send(0)).decode() if table.num_rows else ""}
    if table.num_rows > n_rows:
        found["chunks"], found["chunkHeaders"] = [], {"x-chunk-auth": "k"}
        for at in range(n_rows, table.num_rows, n_rows):
            raw, chunk_id = send(at), uuid.uuid4().hex
            chunks[chunk_id] = (session.name, gzip.compress(raw, 1))
            found["chunks"].append({
                "url": f"{base}/chunks/{chunk_id}", "rowCount": min(n_rows, table.num_rows - at),
                "uncompressedSize": len(raw), "compressedSize": len(chunks[chunk_id][1])})
    return found


async def chunk(request: Request):
    if request.headers.get("x-chunk-auth") != "k" or request.headers.get("authorization"):
        return Response("forbidden", 403)
    name, content = chunks[request.path_params["chunk_id"]]
    if fault(name, "chunk_unavailable"):
        return Response("slow down", 503)
    if fault(name, "chunk_cut"):
        # Half of it under the length of the whole: the connection is closed early.
        async def half():
            yield content[: len(content) // 2]

        from starlette.responses import StreamingResponse
        return StreamingResponse(half(), headers={"content-encoding": "gzip"})
    logs[name].chunks += 1
    return Response(content, headers={"content-encoding": "gzip"})


# --- for tests --------------------------------------------------------------------------------


async def state(request: Request):
    name = request.query_params.get("name", "")
    log = logs[name]
    tables = fsrv.shared_fs.duck_conn.cursor().execute(
        "SELECT table_name FROM duckdb_tables() WHERE NOT internal").fetchall()
    own = [s for s in {id(s): s for s in sessions.values()}.values() if s.name == name]
    temporary = set()
    for session in own:
        async with session.lock:
            if session not in sessions.values():
                continue
            rows = session.conn._duck_conn.execute(
                "SELECT table_name FROM duckdb_tables() WHERE temporary").fetchall()
            temporary.update(row[0] for row in rows)
    return JSONResponse({
        "statements": log.statements, "aborts": log.aborts, "renewals": log.renewals, "logins": log.logins,
        "chunks": log.chunks, "login": log.login, "sessions": len(own), "tables": sorted(row[0] for row in tables),
        "temporary": sorted(temporary)})


async def set_key(request: Request):
    data = await body_of(request)
    keys[data["user"].upper()] = data["pem"]
    return JSONResponse({})


async def expire(request: Request):
    name = (await body_of(request))["name"]
    for session in list({id(s): s for s in sessions.values()}.values()):
        if session.name == name:
            async with session.lock:
                end(session)
    return JSONResponse({})


app = Starlette(routes=[
    Route("/session/v1/login-request", login, methods=["POST"]),
    Route("/session/token-request", renew, methods=["POST"]),
    Route("/session", close, methods=["POST"]),
    Route("/queries/v1/query-request", query, methods=["POST"]),
    Route("/queries/v1/abort-request", abort, methods=["POST"]),
    Route("/queries/{query_id}/result", result),
    Route("/chunks/{chunk_id}", chunk),
    Route("/standin/state", state),
    Route("/standin/key", set_key, methods=["POST"]),
    Route("/standin/expire", expire, methods=["POST"]),
])


def main():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    # Connections wait from now on, also before the server takes them.
    listener.listen(128)
    print(listener.getsockname()[1], flush=True)
    if "--parent" in sys.argv:
        def watch():
            sys.stdin.buffer.read()
            os._exit(0)

        threading.Thread(target=watch, daemon=True).start()
    tls = {}
    if "--tls" in sys.argv:
        at = sys.argv.index("--tls")
        tls = {"ssl_certfile": sys.argv[at + 1], "ssl_keyfile": sys.argv[at + 2]}
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_keep_alive=120, **tls))
    asyncio.run(server.serve(sockets=[listener]))


if __name__ == "__main__":
    main()
