"""The open Unity Catalog server, where PROVENDER_TEST_UNITY_JARS names a folder with its jars (`mvn -f
tests/standins/databricks/unity.xml dependency:copy-dependencies -DoutputDirectory=FOLDER`). It knows the external
tables and hands out keys for them. What it does not have stays with the stand-in: views, managed tables, row filters,
keys that end, and names that it does not take, such as those with a dot or a space.

It tells upper from lower case, which Databricks does not, so names go to it in lower case."""

import atexit
import glob
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

JARS = os.environ.get("PROVENDER_TEST_UNITY_JARS")
IS_ON = bool(JARS)
KEY = "unity"  # the key that it hands out; it has no end
API = "/api/2.1/unity-catalog"

known = {}  # whole name in lower case: id of the table
schemas = set()
folder = process = url = None


def free_port():
    """A port that is free like the one after it: the server takes both."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("", 0))
                second.bind(("", first.getsockname()[1] + 1))
                return first.getsockname()[1]
            except (OSError, OverflowError):
                continue


def start(bucket):
    global folder, process, url
    if not IS_ON:
        return
    folder = tempfile.mkdtemp(prefix="standin-")
    os.makedirs(f"{folder}/etc/conf")
    # Keys with a token of a session are handed out as they are; without one it would ask AWS.
    settings = {"server.authorization": "disable", "s3.bucketPath.0": f"s3://{bucket}", "s3.region.0": "us-east-1",
                "s3.accessKey.0": KEY, "s3.secretKey.0": "storage-canary-secret",
                "s3.sessionToken.0": "storage-canary-token"}
    with open(f"{folder}/etc/conf/server.properties", "w") as out:
        out.writelines(f"{name}={value}\n" for name, value in settings.items())
    port = free_port()
    url = f"http://127.0.0.1:{port}{API}"
    # Its database is in memory where no file says otherwise.
    command = ["java", "-Xmx512m", "-cp", ":".join(glob.glob(f"{JARS}/*.jar")),
               "io.unitycatalog.server.UnityCatalogServer", "--port", str(port)]
    process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    atexit.register(stop)
    deadline = time.monotonic() + 120
    while True:
        try:
            return ask("GET", "/catalogs")
        except OSError:
            if time.monotonic() > deadline or process.poll() is not None:
                raise
            time.sleep(0.1)


def stop():
    if process is not None:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def ask(method, path, body=None):
    """The status and the document that the server answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, document(answer)
    except urllib.error.HTTPError as error:
        return error.code, document(error)


def document(answer):
    """What is no JSON, such as the answer to a removal, holds nothing."""
    body = answer.read()
    return json.loads(body) if "json" in answer.headers.get("Content-Type", "") else {}


def add(parts, location):
    """The id that the server gives to an external table; `None` if it does not take the table."""
    if not IS_ON:
        return None
    catalog, schema, name = (part.lower() for part in parts)
    full_name = f"{catalog}.{schema}.{name}"
    remove(full_name)
    if (catalog, schema) not in schemas:
        ask("POST", "/catalogs", {"name": catalog})
        ask("POST", "/schemas", {"name": schema, "catalog_name": catalog})
        schemas.add((catalog, schema))
    status, answer = ask("POST", "/tables", {
        "name": name, "catalog_name": catalog, "schema_name": schema, "table_type": "EXTERNAL",
        "data_source_format": "DELTA", "storage_location": location, "columns": []})
    if answer.get("error_code") == "INVALID_ARGUMENT":
        return None
    if status != 200:
        raise RuntimeError(f"the open server: {status} {answer}")
    known[full_name] = answer["table_id"]
    return answer["table_id"]


def remove(full_name):
    if known.pop(full_name, None):
        ask("DELETE", f"/tables/{urllib.parse.quote(full_name)}")
