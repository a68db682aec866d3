"""What DuckDB, and fakesnow before it, do otherwise than Snowflake: names, statements, types, past states.

Imported for its effect on fakesnow, whose server then answers as the service does.
"""

import datetime
import itertools
import re
import time
from collections import defaultdict
from string import Template

import duckdb
import fakesnow.cursor as fcur
import fakesnow.rowtype as frow
import fakesnow.server as fsrv
import fakesnow.transforms as ftr
import sqlglot
from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

# --- names ------------------------------------------------------------------------------------

# DuckDB takes names for one that differ only in case, Snowflake does not. So a quoted name with small letters is
# spelled with a mark behind it, which says where they are; whatever a client sees is without.
MARK = "\u2063"


def spelled(name):
    bits = sum(1 << at for at, letter in enumerate(name) if "a" <= letter <= "z")
    return f"{name}{MARK}{bits:x}" if bits and MARK not in name else name


def shown(text):
    return re.sub(f"{MARK}[0-9a-f]+", "", text) if isinstance(text, str) else text


class Told(Template):
    """A statement that tells a name, whatever is in it."""

    def substitute(self, **names):
        told = lambda name: shown(name).replace("'", "''") if isinstance(name, str) else name
        return super().substitute({key: told(name) for key, name in names.items()})


for _name, _template in list(vars(fcur).items()):
    if isinstance(_template, Template):
        setattr(fcur, _name, Told(_template.template))


# The service puts no variables into quoted names; tests have none elsewhere either.
fcur.FakeSnowflakeCursor._inline_variables = lambda self, command: command


def spell_names(tree):
    for name in tree.find_all(exp.Identifier):
        # Schemas and databases of tests have no namesakes.
        if name.args.get("quoted") and name.arg_key not in ("db", "catalog") and isinstance(name.this, str):
            name.set("this", spelled(name.this))
    return tree


def show_names(tree):
    """INFORMATION_SCHEMA tells names without marks."""
    for table in list(tree.find_all(exp.Table)):
        if table.db.upper() == "_FS_INFORMATION_SCHEMA" and table.name.upper() in ("_FS_TABLES", "_FS_COLUMNS"):
            alias = table.args.get("alias")
            table.set("alias", None)
            columns = ["TABLE_NAME"] + (["COLUMN_NAME"] if table.name.upper() == "_FS_COLUMNS" else [])
            decoded = ", ".join(f"regexp_replace({c}, '{MARK}[0-9a-f]+', '') AS {c}" for c in columns)
            rows = parse_duckdb(f"SELECT * REPLACE ({decoded}) FROM {table.sql(dialect='duckdb')}").subquery()
            if alias:
                rows.set("alias", alias)
            table.replace(rows)
    return tree


parse_duckdb = lambda sql: sqlglot.parse_one(sql, read="duckdb")

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
    return spell_names(tree)


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
    key = (table.catalog, table.db, table.name if table.this.args.get("quoted") else table.name.upper())
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
        copy = f"STATE{next(copies)}"
        duck = session.conn._duck_conn
        duck.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(table[0], PAST)}")
        duck.execute(f"CREATE TABLE {quoted(table[0], PAST, copy)} AS "
                     f"SELECT * FROM {quoted(*table[:2], spelled(table[2]))}")
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
        _execute(self, show_names(transformed), params)
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
_to_timestamp = ftr.to_timestamp


def to_timestamp(expression):
    """Times of whole microseconds are exact; fakesnow would make floats of seconds of them."""
    made = _to_timestamp(expression)
    if isinstance(made, exp.Anonymous) and made.name == "_fs_to_timestamp" and made.expressions[1].name == "6":
        return exp.Anonymous(this="make_timestamp", expressions=[exp.cast(made.expressions[0], "BIGINT")])
    return made


ftr.to_timestamp = to_timestamp
# SUM of NUMBER is exact in Snowflake; fakesnow would make it a float.
ftr.numeric_agg_implicit_cast = lambda expression: expression
frow.duckdb_to_sf_type.update(
    {"INT128": "fixed", "HUGEINT": "fixed", "SMALLINT": "fixed", "TINYINT": "fixed", "UINTEGER": "fixed",
     "USMALLINT": "fixed", "UTINYINT": "fixed", "FLOAT": "real", "REAL": "real", "TIMESTAMP_S": "timestamp_ntz",
     "TIMESTAMP_MS": "timestamp_ntz", "TIMESTAMPTZ": "timestamp_tz"})
_describe = frow.describe_as_rowtype


def describe_as_rowtype(results):
    out = []
    for row in ((shown(row[0]), *row[1:]) for row in results):
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
