"""The SQL engine behind the stand-in: Sail, or open Spark with Delta where PROVENDER_TEST_SPARK_JARS names a folder
with its jars (`mvn -f tests/standins/databricks/pom.xml dependency:copy-dependencies -DoutputDirectory=FOLDER`)."""

import glob
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

folders = []  # what the engine keeps on disk
JARS = os.environ.get("PROVENDER_TEST_SPARK_JARS")
IS_SPARK = bool(JARS)
# Packages that Spark looks into.
OPEN = ("lang", "lang.invoke", "lang.reflect", "io", "net", "nio", "util", "util.concurrent", "util.concurrent.atomic")
OPEN = [f"java.{name}" for name in OPEN] + ["jdk.internal.ref", "sun.nio.ch", "sun.nio.cs", "sun.security.action",
                                            "sun.util.calendar"]


def sail(port, s3, key):
    environ = {**os.environ, "AWS_ENDPOINT": s3, "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": key,
               "AWS_SECRET_ACCESS_KEY": "standin", "AWS_REGION": "us-east-1", "TZ": "America/New_York"}
    # A session that nobody used for a while would be forgotten with its tables.
    environ["SAIL_SPARK__SESSION_TIMEOUT_SECS"] = "86400"
    server = os.path.join(os.path.dirname(sys.executable), "sail")
    return [server, "spark", "server", "--ip", "127.0.0.1", "--port", str(port)], environ


def spark(port, s3, key):
    folder = folders[0]
    settings = {
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem", "spark.hadoop.fs.s3a.endpoint": s3,
        "spark.hadoop.fs.s3a.endpoint.region": "us-east-1", "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.hadoop.fs.s3a.connection.ssl.enabled": "false", "spark.hadoop.fs.s3a.access.key": key,
        "spark.hadoop.fs.s3a.secret.key": "standin", "spark.ui.enabled": "false",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS", "spark.sql.shuffle.partitions": "1",
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.sql.warehouse.dir": folder, "spark.connect.grpc.binding.port": str(port),
        "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1",
    }
    opened = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in OPEN]
    given = [part for name, value in settings.items() for part in ("--conf", f"{name}={value}")]
    java = ["java", "-Xmx2g", "-Duser.timezone=America/New_York", f"-Dderby.system.home={folder}", *opened]
    submit = ["org.apache.spark.deploy.SparkSubmit", "--master", "local[2]", "--class",
              "org.apache.spark.sql.connect.service.SparkConnectServer", *given, "spark-internal"]
    return [*java, "-cp", ":".join(glob.glob(f"{JARS}/*.jar")), *submit], dict(os.environ)


def start(s3, key):
    """The process of the engine, and a session in it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folders.append(tempfile.mkdtemp(prefix="standin-"))
    command, environ = (spark if IS_SPARK else sail)(port, s3, key)
    process = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            if time.monotonic() > deadline or process.poll() is not None:
                raise
            time.sleep(0.05)
    from pyspark.sql import SparkSession
    session = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").getOrCreate()
    session.conf.set("spark.sql.session.timeZone", "UTC")
    return process, session


def stop(process):
    process.kill()
    process.wait()
    shutil.rmtree(folders[0], ignore_errors=True)


def run(session, text, parameters=None):
    """The frame of a statement. Open Spark's only catalog of tables has another name."""
    if IS_SPARK:
        text = re.sub(r"(?<![\w`.])(?:`sail`|sail)\.", "`spark_catalog`.", text)
    return session.sql(text, args=parameters or None)


def rows(frame):
    """The rows of a frame. The client would cast Spark's to what it thinks is never null."""
    return frame._to_table()[0] if IS_SPARK else frame.toArrow()
