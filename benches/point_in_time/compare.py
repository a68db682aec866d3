"""Compares answers with ours by row_id, bit for bit (sums and means of windows to a relative 1e-9), nulls as nulls.

usage: compare.py VARIANT N_LABELS OURS.parquet THEIRS.parquet
Prints one JSON object: n_rows, n_missing (labels without a row), n_surplus (rows beyond one for each label),
n_differing (labels of which a feature is another), first (the least row_id of those and of the missing).
"""

import json
import sys

import numpy
import pyarrow
import pyarrow.parquet

from variants import VARIANTS


def answer(path, columns):
    """The row ids of a file, each once, its rows in their order, and how many rows repeat another."""
    table = pyarrow.parquet.read_table(path, columns=["row_id", *columns])
    ids, first = numpy.unique(table["row_id"].to_numpy(), return_index=True)
    n_repeated = table.num_rows - len(ids)
    return ids, table.take(pyarrow.array(first)), n_repeated


def bits(column):
    """Two arrays that are equal where values are: which are null, and the bits of the others."""
    column = column.combine_chunks()
    is_null = column.is_null().to_numpy(zero_copy_only=False)
    values = column.fill_null(0).to_numpy(zero_copy_only=False)
    return is_null, numpy.ascontiguousarray(values).view(numpy.int64)


def is_close(ours, theirs):
    """Where two columns differ in their digits at most."""
    ours, theirs = (column.combine_chunks().to_numpy(zero_copy_only=False) for column in (ours, theirs))
    return numpy.isclose(ours, theirs, rtol=1e-9, atol=0, equal_nan=True)


def compare(variant, n_labels, ours, theirs):
    columns = variant.outputs
    rounded = {name for name, function, _ in variant.windows if function in ("sum", "mean")}
    our_ids, our_rows, _ = answer(ours, columns)
    ids, rows, n_repeated = answer(theirs, columns)
    shared, our_places, places = numpy.intersect1d(our_ids, ids, assume_unique=True, return_indices=True)
    our_rows, rows = our_rows.take(pyarrow.array(our_places)), rows.take(pyarrow.array(places))
    differs = numpy.zeros(len(shared), dtype=bool)
    for name in columns:
        our_column, column = our_rows[name], rows[name]
        if column.type != our_column.type:
            column = column.cast(our_column.type, safe=False)
        if name in rounded:
            differs |= ~is_close(our_column, column)
            continue
        for our_side, side in zip(bits(our_column), bits(column)):
            differs |= our_side != side
    missing = numpy.setdiff1d(numpy.arange(n_labels), ids)
    wrong = numpy.concatenate([missing, shared[differs]])
    return {
        "n_rows": len(ids) + n_repeated,
        "n_missing": len(missing),
        "n_surplus": n_repeated + len(numpy.setdiff1d(ids, numpy.arange(n_labels))),
        "n_differing": int(differs.sum()),
        "first": int(wrong.min()) if len(wrong) else None,
    }


if __name__ == "__main__":
    print(json.dumps(compare(VARIANTS[sys.argv[1]], int(sys.argv[2]), sys.argv[3], sys.argv[4])))
