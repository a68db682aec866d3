"""Columns and parts of results in the forms in which the service sends them."""

import io

import pyarrow as pa
import pyarrow.compute as pc


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
            digits = int(options["ts_scale"]) if options["realism"] and options["ts_scale"] is not None else 9
            if digits <= (6 if kind.num_fields == 2 else 3):
                value = pc.add(pc.multiply(parts[0], 10**digits),
                               pc.divide(parts[1].cast(pa.int64()), 10 ** (9 - digits)))
                # Times with a zone and few digits are scaled integers beside their zone.
                column = pc.if_else(is_null, pa.scalar(None, pa.int64()), value) if kind.num_fields == 2 else \
                    pa.StructArray.from_arrays([value, parts[2]], names=["epoch", "timezone"], mask=is_null)
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
