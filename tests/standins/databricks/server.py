"""A Databricks workspace for tests: the statement API over Sail (Spark SQL without a JVM) or open Spark (engines.py),
Unity Catalog's tables and temporary credentials (or the open server's, unity.py), OAuth tokens, and S3 (moto) behind
both; made to fail like the service when a test asks for that.

Run: server.py [--parent]     prints {"url", "s3"} on one line; with --parent it ends when stdin does.

A VARIANT is sent as JSON text, as Databricks does in ARROW_STREAM; the engine's own bytes are never seen. Time
zones and names follow Databricks where the engine does otherwise (`insert`).

Tables are Delta tables in the bucket "lake" and lie in the catalog "sail". Whoever logs in has a name: the
token "dapi-NAME", or the service principal NAME with the secret "oauth-canary". What is set for a name by
POST /standin/set {"name", ...} holds for its requests:
  chunk_rows        rows of each chunk of a result (10000)
  pending           looks at a statement for which its warehouse is still starting (0)
  slow              statements that hold this text run until they are cancelled (none)
  cancel            statements that hold this text are cancelled by somebody (none)
  link_ttl          seconds for which a link to a chunk can be followed (900)
  token_ttl         seconds for which an OAuth token is taken (3600)
  key_ttl           seconds for which keys of storage are taken (3600)
  nested_text       lists, maps and structs are sent as JSON text, as most warehouses do (false)
  deny_keys         keys of storage are refused (false)
  row_filter        tables are told to have a row filter (false)
  lost_text         answers are lost of statements that hold this text alone (any)
Faults, each for so many of the next requests of that name:
  throttle          429 with Retry-After
  unavailable       503 before anything is done
  lost_answer       the connection ends after a statement was taken in
  stale_links       links are refused as if they had expired
  link_unavailable  503 of the storage behind links
  link_cut          half a chunk
  conflict          statements that change something fail as if another writer had been first

GET /standin/state?name=N     statements, and what else happened under a name
POST /standin/revoke {"name"} OAuth tokens of a name are not taken any more
"""

import io
import json
import logging
import os
import re
import sys
import threading
import time
import urllib.parse
import uuid
import warnings
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)

import pyarrow as pa
from deltalake import DeltaTable

import engines
import unity
from storage import BUCKET, OWN_KEY, S3, remove_files, storage_keys

SETTINGS = {"chunk_rows": 10_000, "pending": 0, "slow": None, "cancel": None, "link_ttl": 900, "token_ttl": 3600,
            "key_ttl": 3600, "nested_text": False, "deny_keys": False, "row_filter": False, "lost_text": ""}
FAULTS = ("throttle", "unavailable", "lost_answer", "stale_links", "link_unavailable", "link_cut", "conflict")
NAME = r"((?:`(?:[^`]|``)+`|\w+)(?:\.(?:`(?:[^`]|``)+`|\w+))*)"


class Login:
    """What was set for a name, and what happened under it."""

    def __init__(self):
        self.settings = dict(SETTINGS)
        self.faults = defaultdict(int)
        self.statements = []
        self.counts = defaultdict(int)
        self.lock = threading.Lock()

    def fails(self, fault):
        with self.lock:
            if self.faults[fault] <= 0:
                return False
            self.faults[fault] -= 1
            self.counts[fault] += 1
            return True

    def count(self, what):
        with self.lock:
            self.counts[what] += 1


logins = defaultdict(Login)
oauth_tokens = {}  # token: (name, end)
links = {}  # path: (bytes, end, login)
statements = {}
tables = {}  # whole name in lower case: what Unity Catalog tells
lock = threading.RLock()


# --- the engine -------------------------------------------------------------------------------

unity.start(BUCKET)
storage_keys[unity.KEY] = float("inf")
engine, session = engines.start(S3, OWN_KEY)
from pyspark.sql.types import VariantType  # noqa: E402


def literal(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def bound(sql, parameters):
    """The text with parameters in it: the engine takes them in queries alone."""
    def put(match):
        name = match.group(1)
        if name is None or name not in parameters:
            return match.group(0)
        value = parameters[name]
        return "NULL" if value is None else literal(value)
    return re.sub(r"'(?:[^'\\]|\\.)*'|`(?:[^`]|``)*`|:(\w+)", put, sql, flags=re.S)


def parts(text):
    """The parts of a name, without their quotes."""
    found = re.findall(r"`((?:[^`]|``)+)`|(\w+)", text)
    return [quoted.replace("``", "`") or plain for quoted, plain in found]


def whole_name(text, body):
    """A table's parts, of the statement's catalog and schema where it names none."""
    found = parts(text)
    found = [body["catalog"], body["schema"]][: 3 - len(found)] + found
    return ".".join(found).lower(), ".".join("`" + part.replace("`", "``") + "`" for part in found)


def end_of_columns(text):
    """Where the parentheses close that the text starts with."""
    depth = 0
    for match in re.finditer(r"`(?:[^`]|``)*`|'(?:[^'\\]|\\.)*'|[()]", text, flags=re.S):
        depth += {"(": 1, ")": -1}.get(match.group(), 0)
        if depth == 0:
            return match.end()
    raise ValueError(f"no end: {text}")


class Refused(Exception):
    pass


def column_names(text):
    """The names of columns in parentheses, before their types."""
    names, depth, is_next = [], 0, False
    for match in re.finditer(r"`((?:[^`]|``)*)`|(\w+)|[(<>),]", text):
        token = match.group()
        if token in "(<":
            depth += 1
        elif token in ")>":
            depth -= 1
        elif token != "," and is_next:
            names.append(match.group(1) or match.group(2))
        is_next = depth == 1 and token in "(,"
    return names


def refuse_names(names, options):
    """As Delta does where Sail would not."""
    odd = [name for name in names if re.search(r"[ ,;{}()\n\t=]", name)]
    if odd and "'delta.columnMapping.mode' = 'name'" not in options:
        raise Refused(f"[DELTA_INVALID_CHARACTERS_IN_COLUMN_NAMES] Found invalid character(s) in the names {odd}.")
    lower = [name.lower() for name in names]
    if len(set(lower)) < len(lower):
        raise Refused(f"[COLUMN_ALREADY_EXISTS] One of the columns {lower} already exists.")


def create_table(match, body):
    """CREATE TABLE at a location: its own, or one that a managed table is given."""
    replaces, if_not_exists, name, rest = match.groups()
    key, quoted = whole_name(name, body)
    with lock:
        if key in tables and if_not_exists:
            return "SELECT 0 AS n"
        if key in tables and not replaces:
            raise Refused(f"[TABLE_OR_VIEW_ALREADY_EXISTS] Cannot create {quoted} because it already exists")
        columns, tail = "", rest.strip()
        if tail.startswith("("):
            end = end_of_columns(tail)
            columns, tail = tail[:end], tail[end:]
        refuse_names(column_names(columns), tail)
        tail = re.match(r"\s*(?:USING DELTA)?\s*(TBLPROPERTIES \(.*?\))?\s*(PARTITIONED BY \(.*?\))?\s*"
                        r"(?:LOCATION '((?:[^'\\]|\\.)*)')?\s*(AS .*)?$", tail, flags=re.S)
        properties, partitions, location, query = tail.groups()
        if not engines.IS_SPARK:
            # Sail writes the names themselves into files, whatever they hold.
            properties = ""
        is_external = location is not None
        location = location or f"s3://{BUCKET}/managed/{uuid.uuid4().hex}"
        if replaces and key in tables:
            engines.run(session, f"DROP TABLE IF EXISTS {quoted}")
            if is_external:
                remove_files(location)
        schema = ".".join(quoted.split(".")[:2])
        engines.run(session, f"CREATE DATABASE IF NOT EXISTS {schema}")
        engines.run(session, f"CREATE TABLE {quoted} {columns} USING delta {properties or ''} "
                    f"{partitions or ''} LOCATION '{location}' {query or ''}")
        table_id = unity.add(parts(quoted), location) if is_external else unity.remove(key)
        tables[key] = {"table_id": table_id or uuid.uuid4().hex, "table_type": "EXTERNAL" if is_external else "MANAGED",
                       "data_source_format": "DELTA", "storage_location": location}
    return "SELECT 0 AS n"


def insert(match, body):
    """INSERT with a list of columns. The engine would fold their names to lower case and take them apart at dots,
    which Databricks does not, so it is given the values by place."""
    verb, name, rest = match.groups()
    end = end_of_columns(rest)
    named = [parts(text)[0].lower() for text in re.findall(r"`(?:[^`]|``)+`|\w+", rest[:end])]
    quoted = whole_name(name, body)[1]
    found = [column.lower() for column in engines.run(session, f"SELECT * FROM {quoted} LIMIT 0").columns]
    if unknown := [column for column in named if column not in found]:
        raise Refused(f"[UNRESOLVED_COLUMN.WITH_SUGGESTION] A column named {unknown[0]} cannot be resolved.")
    values = ", ".join(f"q.c{named.index(column)}" if column in named else "NULL" for column in found)
    places = ", ".join(f"c{at}" for at in range(len(named)))
    return f"{verb} {quoted} SELECT {values} FROM ({rest[end:]}) AS q({places})"


def translated(body):
    """The statement as the engine takes it; what only a catalog does is done here."""
    sql = body["statement"]
    parameters = {p["name"]: p.get("value") for p in body.get("parameters") or []}
    command = bound(sql, parameters)
    if match := re.match(rf"\s*CREATE\s+(OR REPLACE\s+)?TABLE\s+(IF NOT EXISTS\s+)?{NAME}(.*)$", command, flags=re.S):
        return create_table(match, body), {}
    match = re.match(rf"\s*(INSERT INTO|INSERT OVERWRITE)\s+{NAME}\s+(\(.*)$", command, flags=re.S)
    if match and not engines.IS_SPARK:
        return insert(match, body), {}
    if match := re.match(rf"\s*CREATE VIEW {NAME} AS (.*)$", sql, flags=re.S):
        key, quoted = whole_name(match.group(1), body)
        tables[key] = {"table_id": uuid.uuid4().hex, "table_type": "VIEW", "data_source_format": "", "storage_location": ""}
        return f"CREATE VIEW {quoted} AS {match.group(2)}", {}
    if match := re.match(rf"\s*DROP TABLE (?:IF EXISTS )?{NAME}\s*$", sql):
        key, quoted = whole_name(match.group(1), body)
        with lock:
            tables.pop(key, None)
            unity.remove(key)
        return f"DROP TABLE IF EXISTS {quoted}", {}
    if match := re.search(rf"DESCRIBE HISTORY {NAME}", sql):
        known = tables.get(whole_name(match.group(1), body)[0])
        if known is None:
            raise Refused("[TABLE_OR_VIEW_NOT_FOUND] The table or view cannot be found.")
        options = {"AWS_ENDPOINT_URL": S3, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1",
                   "AWS_ACCESS_KEY_ID": OWN_KEY, "AWS_SECRET_ACCESS_KEY": "standin"}
        return f"SELECT {DeltaTable(known['storage_location'], storage_options=options).version()} AS v", {}
    if re.match(r"\s*(SELECT|WITH|\()", sql):
        return sql, parameters
    return command, {}


CLASSES = (("not found", "TABLE_OR_VIEW_NOT_FOUND"), ("cannot resolve", "UNRESOLVED_COLUMN.WITH_SUGGESTION"),
           ("divide by zero", "DIVIDE_BY_ZERO"), ("expected something else", "PARSE_SYNTAX_ERROR"),
           ("missing commit file", "DELTA_VERSION_NOT_FOUND"),
           ("cannot time travel delta table to version", "DELTA_VERSION_NOT_FOUND"),
           ("conflict", "DELTA_CONCURRENT_APPEND"), ("concurrent", "DELTA_CONCURRENT_APPEND"))


def told(error):
    text = str(error).split("\n\nJVM stacktrace")[0]
    if text.startswith("["):
        return text[:2000]
    found = next((name for part, name in CLASSES if part in text.lower()), None)
    return f"[{found}] {text}"[:2000] if found else text[:2000]


def json_value(value, kind):
    """A value of an Arrow type as JSON tells it; numbers by their own digits."""
    if value is None or pa.types.is_boolean(kind):
        return json.dumps(value)
    if pa.types.is_list(kind):
        return f"[{','.join(json_value(item, kind.value_type) for item in value)}]"
    if pa.types.is_map(kind):
        pairs = (f"{json.dumps(str(key))}:{json_value(item, kind.item_type)}" for key, item in value)
        return "{" + ",".join(pairs) + "}"
    if pa.types.is_struct(kind):
        pairs = (f"{json.dumps(field.name)}:{json_value(value[field.name], field.type)}" for field in kind)
        return "{" + ",".join(pairs) + "}"
    if pa.types.is_floating(kind) and value == value and abs(value) != float("inf"):
        return repr(value)
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        return str(value)
    return json.dumps(value.isoformat() if hasattr(value, "isoformat") else str(value))


class Statement:
    def __init__(self, login, body):
        self.id = str(uuid.uuid4())
        self.login, self.body = login, body
        self.state, self.error, self.table, self.types = "RUNNING", None, None, []
        self.n_looks = 0
        self.done = threading.Event()
        with login.lock:
            login.statements.append(self)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        sql, settings = self.body["statement"], self.login.settings
        try:
            if settings["cancel"] and settings["cancel"] in sql:
                return self.end("CANCELED")
            if settings["slow"] and settings["slow"] in sql:
                self.done.wait()
                return
            is_query = re.match(r"\s*(SELECT|WITH|\()", sql)
            if not is_query and self.login.fails("conflict"):
                raise Refused("[DELTA_CONCURRENT_APPEND] Files were added to the root of the table by a concurrent update.")
            text, parameters = translated(self.body)
            frame = engines.run(session, text, parameters)
            if not is_query:
                # A command was carried out at once; what it answers may have a type that the client does not know.
                self.table, self.types = pa.table({"n": pa.array([0], pa.int64())}), [("n", "BIGINT")]
                return self.end("SUCCEEDED")
            self.types = [(field.name, field.dataType.simpleString()) for field in frame.schema]
            is_variant = [isinstance(field.dataType, VariantType) for field in frame.schema]
            if any(is_variant):
                # The engine cannot carry a VARIANT that is null, so its text takes its place.
                text = re.sub(r"\bPARSE_JSON\(", "CONCAT('', ", text, flags=re.I)
                frame = engines.run(session, text, parameters)
            table = engines.rows(frame)
            for at, name in enumerate(table.column_names):
                values, kind = table.column(at), table.schema.field(at).type
                if is_variant[at]:
                    values = [v and json.dumps(json.loads(v), ensure_ascii=False) for v in values.to_pylist()]
                elif settings["nested_text"] and pa.types.is_nested(kind):
                    values = [None if v is None else json_value(v, kind) for v in values.to_pylist()]
                else:
                    continue
                table = table.set_column(at, name, pa.array(values, pa.string()))
            self.table = table
            self.end("SUCCEEDED")
        except Exception as error:
            self.error = {"error_code": "BAD_REQUEST", "message": told(error)}
            self.end("FAILED")

    def end(self, state):
        with lock:
            if self.state == "RUNNING":
                self.state = state
        self.done.set()

    def chunks(self):
        n_rows = self.login.settings["chunk_rows"]
        return [self.table.slice(at, n_rows) for at in range(0, self.table.num_rows, n_rows)]

    def links(self, index):
        chunk = self.chunks()[index]
        out = io.BytesIO()
        with pa.ipc.new_stream(out, chunk.schema) as writer:
            writer.write_table(chunk, max_chunksize=max(1, chunk.num_rows // 2))
        path, end = f"/presigned/{uuid.uuid4().hex}", time.time() + self.login.settings["link_ttl"]
        links[path] = (out.getvalue(), end, self.login)
        return {"external_links": [{
            "chunk_index": index, "row_count": chunk.num_rows, "byte_count": len(out.getvalue()),
            "external_link": f"{URL}{path}?X-Amz-Signature=link-canary",
            "expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end)),
        }]}

    def document(self):
        self.n_looks += 1
        state = self.state
        if state in ("RUNNING", "SUCCEEDED", "FAILED") and self.n_looks <= self.login.settings["pending"]:
            state = "PENDING"
        document = {"statement_id": self.id, "status": {"state": state}}
        if state == "FAILED":
            document["status"]["error"] = self.error
        if state == "SUCCEEDED":
            chunks = self.chunks() if self.table.num_columns else []
            document["manifest"] = {
                "format": "ARROW_STREAM", "truncated": False, "total_chunk_count": len(chunks),
                "total_row_count": self.table.num_rows,
                "schema": {"column_count": len(self.types), "columns": [
                    {"name": name, "position": at, "type_text": text, "type_name": re.split(r"[(<]", text)[0]}
                    for at, (name, text) in enumerate(self.types)]},
                "chunks": [{"chunk_index": at, "row_count": chunk.num_rows, "byte_count": chunk.nbytes}
                           for at, chunk in enumerate(chunks)]}
            document["result"] = self.links(0) if chunks else {}
        return document


# --- the workspace ----------------------------------------------------------------------------

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, document, headers=(), raw=False):
        body = document if raw else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if raw else "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status, code, message, headers=()):
        self.answer(status, {"error_code": code, "message": message}, headers)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def login(self):
        """Who asks; `None` after an answer that lets nobody in."""
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        name = None
        if token.startswith("dapi-"):
            name = token.removeprefix("dapi-")
        elif token in oauth_tokens and oauth_tokens[token][1] > time.time():
            name = oauth_tokens[token][0]
        if name is None:
            self.refuse(401, "401", "Credential was not sent or was of an unsupported type for this API.")
            return None
        login = logins[name]
        if login.fails("throttle"):
            self.refuse(429, "REQUEST_LIMIT_EXCEEDED", "Too many requests", [("Retry-After", "1")])
            return None
        if login.fails("unavailable"):
            self.refuse(503, "TEMPORARILY_UNAVAILABLE", "The service is temporarily unavailable")
            return None
        return login

    def do_POST(self):
        body = self.body()
        path = self.path.split("?")[0]
        if path == "/oidc/v1/token":
            return self.token(body)
        document = json.loads(body or b"{}")
        if path == "/standin/set":
            login = logins[document.pop("name")]
            for key, value in document.items():
                (login.faults if key in FAULTS else login.settings)[key] = value
            return self.answer(200, {})
        if path == "/standin/revoke":
            for token in [t for t, (name, _) in oauth_tokens.items() if name == document["name"]]:
                del oauth_tokens[token]
            return self.answer(200, {})
        login = self.login()
        if login is None:
            return None
        if path == "/api/2.0/sql/statements":
            return self.submit(login, document)
        if match := re.fullmatch(r"/api/2.0/sql/statements/([^/]+)/cancel", path):
            if statement := statements.get(match.group(1)):
                statement.end("CANCELED")
            login.count("cancel")
            return self.answer(200, {})
        if path == "/api/2.1/unity-catalog/temporary-table-credentials":
            return self.keys(login, document)
        return self.refuse(404, "ENDPOINT_NOT_FOUND", path)

    def token(self, body):
        import base64
        form = urllib.parse.parse_qs(body.decode())
        given = base64.b64decode((self.headers.get("Authorization") or "").removeprefix("Basic ")).decode()
        name, _, secret = given.partition(":")
        if secret != "oauth-canary" or form.get("grant_type") != ["client_credentials"]:
            return self.answer(401, {"error": "invalid_client", "error_description": "Client authentication failed"})
        login = logins[name]
        login.count("token")
        token = f"oauth-token-canary-{uuid.uuid4().hex}"
        ttl = login.settings["token_ttl"]
        oauth_tokens[token] = (name, time.time() + ttl)
        return self.answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": ttl})

    def submit(self, login, body):
        if body.get("warehouse_id") != "abc123":
            return self.refuse(404, "RESOURCE_DOES_NOT_EXIST", "warehouse not found")
        if body.get("format") != "ARROW_STREAM" or body.get("disposition") != "EXTERNAL_LINKS":
            return self.refuse(400, "INVALID_PARAMETER_VALUE", "ARROW_STREAM goes with EXTERNAL_LINKS")
        statement = Statement(login, body)
        statements[statement.id] = statement
        if login.settings["lost_text"] in body["statement"] and login.fails("lost_answer"):
            statement.done.wait(10)
            self.close_connection = True
            return None
        if not login.settings["pending"]:
            # Shorter than the service holds it, so that tests see statements in progress.
            statement.done.wait(1)
        return self.answer(200, statement.document())

    def keys(self, login, body):
        login.count("keys")
        known = next((t for t in tables.values() if t["table_id"] == body.get("table_id")), None)
        if unity.IS_ON and not login.settings["deny_keys"] and login.settings["key_ttl"] == SETTINGS["key_ttl"]:
            if known is None or body.get("table_id") in unity.known.values():
                return self.answer(*unity.ask("POST", "/temporary-table-credentials", body))
        if known is None:
            return self.refuse(404, "TABLE_DOES_NOT_EXIST", "no such table")
        is_write = body.get("operation") == "READ_WRITE"
        if login.settings["deny_keys"] or (is_write and known["table_type"] == "MANAGED"):
            return self.refuse(403, "PERMISSION_DENIED", "User does not have EXTERNAL USE SCHEMA on Schema")
        key, ttl = f"AKIA{uuid.uuid4().hex}", login.settings["key_ttl"]
        storage_keys[key] = time.time() + ttl
        return self.answer(200, {
            "aws_temp_credentials": {"access_key_id": key, "secret_access_key": "storage-canary-secret",
                                     "session_token": "storage-canary-token"},
            "expiration_time": int((time.time() + ttl) * 1000), "url": known["storage_location"]})

    def do_GET(self):
        path, _, query = self.path.partition("?")
        query = {name: values[0] for name, values in urllib.parse.parse_qs(query).items()}
        if path.startswith("/presigned/"):
            return self.linked(path)
        if path == "/standin/state":
            login = logins[query["name"]]
            with login.lock:
                done = [{"sql": s.body["statement"], "state": s.state, "parameters": len(s.body.get("parameters") or [])}
                        for s in login.statements]
                return self.answer(200, {"statements": done, "counts": dict(login.counts), "tables": sorted(tables)})
        login = self.login()
        if login is None:
            return None
        if match := re.fullmatch(r"/api/2.0/sql/statements/([^/]+)(?:/result/chunks/(\d+))?", path):
            statement = statements.get(match.group(1))
            if statement is None:
                return self.refuse(404, "NOT_FOUND", "no such statement")
            if match.group(2) is None:
                statement.done.wait(0.05)
                return self.answer(200, statement.document())
            login.count("links")
            return self.answer(200, statement.links(int(match.group(2))))
        if path.startswith("/api/2.0/sql/warehouses/"):
            return self.answer(200, {"id": path.rsplit("/", 1)[1], "state": "RUNNING"})
        if path == "/api/2.1/unity-catalog/tables":
            start = f"{query['catalog_name']}.{query['schema_name']}.".lower()
            names = [key.removeprefix(start) for key in sorted(tables) if key.startswith(start)]
            if unity.IS_ON:
                return self.names(start, names, query)
            return self.answer(200, {"tables": [{"name": name} for name in names]})
        if path.startswith("/api/2.1/unity-catalog/tables/"):
            login.count("tables")
            key = urllib.parse.unquote(path.rsplit("/", 1)[1]).lower()
            if unity.IS_ON and (key in unity.known or key not in tables):
                status, found = unity.ask("GET", f"/tables/{urllib.parse.quote(key)}")
                if status != 200:
                    return self.answer(status, found)
            elif key not in tables:
                return self.refuse(404, "TABLE_DOES_NOT_EXIST", f"Table '{key}' does not exist.")
            else:
                found = {"name": key.rsplit(".", 1)[1], "full_name": key, "columns": [], **tables[key]}
            if login.settings["row_filter"]:
                found["row_filter"] = {"function_name": "f"}
            return self.answer(200, found)
        return self.refuse(404, "ENDPOINT_NOT_FOUND", path)

    def names(self, start, own, query):
        """A page of the open server's tables; the first one begins with those that it does not know."""
        asked = {**query, "catalog_name": query["catalog_name"].lower(), "schema_name": query["schema_name"].lower()}
        # Pages so short that tests see several.
        status, page = unity.ask("GET", f"/tables?{urllib.parse.urlencode({'max_results': 2, **asked})}")
        if status == 404:
            # A schema of which it knows no table.
            page = {"tables": []}
        elif status != 200:
            return self.answer(status, page)
        if "page_token" not in query:
            page["tables"] = [{"name": name} for name in own if start + name not in unity.known] + page["tables"]
        return self.answer(200, page)

    def linked(self, path):
        """Storage behind a link, which refuses whoever brings a token as well."""
        found = links.get(path)
        login = found[2] if found else logins[""]
        if self.headers.get("Authorization"):
            login.count("link_with_token")
            return self.answer(400, {"Code": "InvalidArgument", "Message": "Only one auth mechanism allowed"})
        if found is None or found[1] < time.time() or login.fails("stale_links"):
            return self.answer(403, {"Code": "AccessDenied", "Message": "Request has expired"})
        if login.fails("link_unavailable"):
            return self.answer(503, {"Code": "SlowDown"})
        if login.fails("link_cut"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(found[0])))
            self.end_headers()
            self.wfile.write(found[0][: len(found[0]) // 2])
            self.close_connection = True
            return None
        return self.answer(200, found[0], raw=True)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        pass


server = Server(("127.0.0.1", 0), Handler)
URL = f"http://127.0.0.1:{server.server_port}"
print(json.dumps({"url": URL, "s3": S3}), flush=True)
if "--parent" in sys.argv:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    # Asked to end, it would wait for its client, which is this process.
    engines.stop(engine)
    unity.stop()
    os._exit(0)
try:
    server.serve_forever()
finally:
    engines.stop(engine)
