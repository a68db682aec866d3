"""An engine that stands in for a warehouse: statements in, Arrow files out, one JSON text per line.

argv[1] is "snowflake" (DuckDB, which reads Snowflake's text after sqlglot has translated it) or "spark" (Sail).
A request: {"tables": {name: Arrow file}, "setup": [sql], "queries": [[sql, file]], "cleanup": [sql]}; the answer
{"rows": [n]} or {"error": text}. With "count": true the answer is {"counts": {subquery: rows}} of the first query.
"""

import json
import logging
import os
import socket
import subprocess
import sys
import time
import warnings

import pyarrow as pa
import pyarrow.parquet as pq

warnings.filterwarnings("ignore")


def read(path):
    with pa.ipc.open_file(path) as reader:
        return reader.read_all()


def write(table, path):
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    return table.num_rows


class Duck:
    def __init__(self):
        import duckdb
        import sqlglot

        logging.getLogger("sqlglot").setLevel(logging.ERROR)
        self.sqlglot = sqlglot
        self.db = duckdb.connect()
        self.db.execute("SET TimeZone = 'America/New_York'")
        self.db.execute("SET threads = 1")

    def table(self, name, path):
        quoted = '"' + name.replace('"', '""') + '"'
        self.db.register("incoming", read(path))
        self.db.execute(f"CREATE OR REPLACE TABLE {quoted} AS SELECT * FROM incoming")
        self.db.unregister("incoming")

    def text(self, sql):
        statements = self.sqlglot.transpile(sql, read="snowflake", write="duckdb")
        assert len(statements) == 1, statements
        return statements[0]

    def run(self, sql):
        return self.db.execute(self.text(sql))

    def query(self, sql):
        return self.run(sql).to_arrow_table()

    def counts(self, sql):
        """How many rows each step of the plan put out."""
        text = "EXPLAIN (ANALYZE, FORMAT JSON) " + self.text(sql)
        profile = json.loads(self.db.execute(text).fetchall()[0][1])
        counts = {}

        def walk(step):
            counts[f"{len(counts)} {step['type']}"] = step["intermediate_rows"]
            for child in step.get("children", []):
                walk(child)

        for step in profile["operator"]:
            walk(step)
        return counts


class Sail:
    def __init__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = os.path.join(os.path.dirname(sys.executable), "sail")
        self.process = subprocess.Popen(
            [server, "spark", "server", "--ip", "127.0.0.1", "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.05)
        from pyspark.sql import SparkSession

        self.spark = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").getOrCreate()
        self.spark.conf.set("spark.sql.session.timeZone", "UTC")

    def table(self, name, path):
        pq.write_table(read(path), path + ".parquet")
        self.spark.read.parquet(path + ".parquet").createOrReplaceTempView(name)

    def run(self, sql):
        # A command is carried out at once; what it answers may have a type that the client does not know.
        self.spark.sql(sql)

    def query(self, sql):
        return self.spark.sql(sql).toArrow()

    def close(self):
        # Asked to end, it would wait for its client, which is this process.
        self.process.kill()
        self.process.wait()


def answer(engine, request):
    for name, path in request["tables"].items():
        engine.table(name, path)
    try:
        for sql in request["setup"]:
            engine.run(sql)
        if request.get("count"):
            return {"counts": engine.counts(request["queries"][0][0])}
        return {"rows": [write(engine.query(sql), path) for sql, path in request["queries"]]}
    finally:
        for sql in request["cleanup"]:
            engine.run(sql)


def main():
    engine = Sail() if sys.argv[1] == "spark" else Duck()
    print(json.dumps({"ready": True}), flush=True)
    try:
        for line in sys.stdin:
            try:
                reply = answer(engine, json.loads(line))
            except Exception as error:
                reply = {"error": f"{type(error).__name__}: {error}"[:4000]}
            print(json.dumps(reply), flush=True)
    finally:
        if isinstance(engine, Sail):
            engine.close()
            # The client's threads would go on looking for the server.
            os._exit(0)


main()
