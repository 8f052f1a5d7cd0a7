"""Opens a relevance file as its users do and checks what docs/relevance-file.md promises.

    open_relevance_file.py FILE

Needs h5py, xarray, h5netcdf and pandas. Prints one line and exits with 0, or fails.
"""

import sys

import h5py
import numpy as np
import pandas as pd
import xarray as xr

# Group -> (its offsets, the dimension of its rows, the columns of that dimension).
RAGGED = {
    "text": ("offset", "byte", ["utf8"]),
    "tokens": ("offset", "token", ["id", "char_start", "char_end"]),
    "units": ("offset", "unit", ["char_start", "char_end", "box"]),
    "targets": ("offset", "target", ["position", "token", "log_prob"]),
    "relevance": ("offset", "cell", ["delta"]),
    "evidence": ("offset", "item", ["char_start", "char_end", "box"]),
}
DTYPES = {
    "samples/status": "uint8", "text/offset": "int64", "text/utf8": "uint8",
    "tokens/offset": "int64", "tokens/id": "int32", "tokens/char_start": "int32",
    "tokens/char_end": "int32", "units/offset": "int64", "units/char_start": "int32",
    "units/char_end": "int32", "units/box": "int32", "units/token_offset": "int64",
    "units/token": "int32", "targets/offset": "int64", "targets/position": "int32",
    "targets/token": "int32", "targets/log_prob": "float32", "relevance/offset": "int64",
    "relevance/delta": "float32", "evidence/offset": "int64", "evidence/char_start": "int32",
    "evidence/char_end": "int32", "evidence/box": "int32",
}
ATTRIBUTES = {
    "format": str, "format_version": np.int32, "complete": np.uint8, "job": str, "model": str,
    "software_version": str, "tensor_parallel": np.int32, "dtype": str,
}


def check_offsets(offsets, num_ranges, num_rows, name):
    assert len(offsets) == num_ranges + 1, name
    assert offsets[0] == 0 and offsets[-1] == num_rows, name
    assert (np.diff(offsets) >= 0).all(), name


def check_h5py(path):
    with h5py.File(path) as file:
        for name, kind in ATTRIBUTES.items():
            assert isinstance(file.attrs[name], kind), (name, type(file.attrs[name]))
        assert file.attrs["format"] == "limn.relevance" and file.attrs["format_version"] == 1

        for name, dtype in DTYPES.items():
            dataset = file[name]
            assert dataset.dtype == dtype, (name, dataset.dtype)
            assert dataset.chunks and dataset.shuffle and dataset.fletcher32, name
            assert dataset.compression == "gzip", name
        file.visititems(check_scales)

        num_samples = len(file["samples/id"])
        ids, messages = file["samples/id"].asstr()[:], file["samples/message"].asstr()[:]
        assert len(file["samples/status"]) == len(messages) == num_samples
        for name, texts in (("id", ids), ("message", messages)):
            offset = file[f"samples/{name}_offset"][:]
            utf8 = file[f"samples/{name}_utf8"][:].tobytes()
            check_offsets(offset, num_samples, len(utf8), name)
            assert list(texts) == [utf8[a:b].decode() for a, b in zip(offset, offset[1:])], name

        for group, (offset, _, columns) in RAGGED.items():
            num_rows = len(file[f"{group}/{columns[0]}"])
            check_offsets(file[f"{group}/{offset}"][:], num_samples, num_rows, group)
        units = len(file["units/char_start"])
        check_offsets(file["units/token_offset"][:], units, len(file["units/token"]), "units/token")
        cells = np.diff(file["units/offset"][:]) * np.diff(file["targets/offset"][:])
        assert (np.diff(file["relevance/offset"][:]) == cells).all()

        if "part" in file:
            assert len(file["part/sample_index"]) == num_samples
            assert (np.diff(file["part/sample_index"][:]) > 0).all()
        return ids, file["relevance/delta"][:]


def check_scales(name, item):
    if isinstance(item, h5py.Dataset) and not item.is_scale:
        for axis in item.dims:
            assert len(axis) == 1, name
            assert axis[0].shape[0] == item.shape[list(item.dims).index(axis)], name


def check_xarray(path, ids, delta):
    tree = xr.open_datatree(path, engine="h5netcdf")
    assert list(tree["samples"]["id"].values) == list(ids)
    np.testing.assert_array_equal(tree["relevance"]["delta"].values, delta)
    assert list(tree["corner"].values) == ["x0", "y0", "x1", "y1"]
    assert tree.attrs["format"] == "limn.relevance"
    tree.close()

    for group, (offset, dimension, columns) in RAGGED.items():
        with xr.open_dataset(path, group=group, engine="h5netcdf") as data:
            data.load()
            assert data[offset].dims == ("sample_bound",), group
            assert all(data[column].dims[0] == dimension for column in columns), group
    with xr.open_dataset(path, engine="h5netcdf") as root:
        assert root.attrs["format_version"] == 1
    with xr.open_dataset(path, group="samples") as samples:  # xarray finds the engine itself
        assert samples["id"].dims == ("sample",)


def check_pandas(path):
    with xr.open_dataset(path, group="targets", engine="h5netcdf") as targets:
        frame = targets[["position", "token", "log_prob"]].to_dataframe()
    assert isinstance(frame, pd.DataFrame) and frame.index.name == "target"
    with h5py.File(path) as file:
        units = pd.DataFrame({name: file["units"][name][:] for name in ("char_start", "char_end")})
    return len(units), len(frame)


def main():
    path = sys.argv[1]
    ids, delta = check_h5py(path)
    check_xarray(path, ids, delta)
    num_units, num_targets = check_pandas(path)
    print(f"{path}: {len(ids)} samples, {num_units} units, {num_targets} targets, "
          f"{len(delta)} deltas, {np.isnan(delta).sum()} missing")


if __name__ == "__main__":
    main()
