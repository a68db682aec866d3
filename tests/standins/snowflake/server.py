"""A Snowflake account for tests: fakesnow (DuckDB behind Snowflake's protocol), made to answer more
like the service, and to fail like it when a test asks for that.

Run: server.py [--parent] [--history] [--tls CERTIFICATE KEY]
It prints its port on one line. With --parent it ends when its input does; with --history it keeps past states of
tables, which AT(TIMESTAMP => ...) reads; with --tls it speaks TLS with a certificate and key (PEM files).

A session's QUERY_TAG may be a JSON object that says how this session is answered:
  chunk_rows      rows of the first part and of each chunk of a result (10000)
  repeat          chunks of a result are answered so many times, as if it were that much larger (1)
  realism         numbers as scaled integers of the narrowest width, as the service sends them (false)
  ts_scale        with realism: times as integers of so many digits after the second, those with a zone from 3 digits on
  name            whose log this session's statements go to, and whose faults are counted together
  in_progress     each statement is told to be in progress so many times before its result
  slow            statements that hold this text are in progress until they are aborted
Faults, each for so many of the next requests of that name:
  throttle 429, unavailable 503 before anything is done, lost_answer 503 after it was done,
  expire (the token has to be renewed), gone (the session has ended),
  chunk_unavailable 503, chunk_cut (half a chunk)
  locked            statements that change something are refused as if another transaction were in the way,
                    once locked_after of them were not
  kept_open         a transaction is not rolled back when it is asked to be

GET /standin/state[?name=N]  what happened under a name: statements, aborts, sessions, temporary tables
POST /standin/key            {"user", "pem"}: the public key that logins of a user are checked with
POST /standin/expire         {"name"}: ends the sessions of a name, as the service ends idle ones
"""

import asyncio
import base64
import gzip
import hashlib
import json
import logging
import os
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
sys.dont_write_bytecode = True

import fakesnow.server as fsrv
import jwt
import pyarrow as pa
import uvicorn
from cryptography.hazmat.primitives import serialization
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from columns import encoded, ipc
from duck import remember, shown

OPTIONS = {
    "chunk_rows": 10_000, "repeat": 1, "realism": False, "ts_scale": None, "name": "", "in_progress": 0, "slow": None,
    "locked_after": 0}
FAULTS = ("throttle", "unavailable", "lost_answer", "expire", "gone", "chunk_unavailable", "chunk_cut", "locked",
          "kept_open")
CHANGES = ("CREATE", "MERGE", "INSERT", "DELETE", "COMMIT")

# --- state ------------------------------------------------------------------------------------


class Session:
    def __init__(self, conn, options, faults_name):
        self.conn, self.options, self.name = conn, options, faults_name
        self.lock = asyncio.Lock()
        self.token = None
        self.n_changes = 0
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
    if sql.startswith(CHANGES):
        session.n_changes += 1
        if session.n_changes > session.options["locked_after"] and fault(name, "locked"):
            return refusal(
                "000625", "Statement was aborted because of a lock", data={"errorCode": "000625", "sqlState": "57014"})
    if sql == "ROLLBACK" and fault(name, "kept_open"):
        return refusal("000603", "SQL execution internal error", data={"errorCode": "000603", "sqlState": "XX000"})
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
        told["message"] = shown(told.get("message"))
        inner = told.get("data") or {}
        code = inner.pop("errorCode", None) or told.get("code") or "000000"
        # The service has a code of its own for a column that is not there.
        if code == "002043" and "Referenced column" in (told["message"] or ""):
            code = "000904"
        told["code"] = code
        told["data"] = {"age": 0, "internalError": answer.status_code >= 500, "queryId": str(uuid.uuid4()), "line": -1,
                        "pos": -1, "type": "COMPILATION", **inner, "errorCode": code,
                        "sqlState": inner.get("sqlState") or "42000"}
        return told
    inner = told["data"]
    if "rowtype" in inner:
        if session.options["realism"] and session.options["ts_scale"] is not None:
            for column in inner["rowtype"]:
                if column["type"] == "timestamp_ntz" or column["type"] == "timestamp_tz" and int(
                        session.options["ts_scale"]) <= 3:
                    column["scale"] = int(session.options["ts_scale"])
        inner.update(returned=inner["total"], version=1, finalRoleName="PUBLIC", databaseProvider=None,
                     finalWarehouseName=None, numberOfBinds=0)
        if text := inner.get("rowsetBase64"):
            table = pa.ipc.open_stream(base64.b64decode(text)).read_all()
            table = table.rename_columns([column["name"] for column in inner["rowtype"]])
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
        found["chunks"] *= int(options["repeat"])
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
        "chunks": log.chunks, "login": log.login, "sessions": len(own), "tables": sorted(shown(row[0]) for row in tables),
        "temporary": sorted(map(shown, temporary))})


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
    print(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
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
