"""FITS, VOTable and ECSV through astropy, with nulls, units, UCDs and provenance intact."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from astropy import units as u
from astropy.io import fits
from astropy.io.votable import parse, writeto
from astropy.io.votable.tree import CooSys, Info, Param, TableElement, VOTableFile
from astropy.table import Column, MaskedColumn, Table

from equilens.catalogs.errors import ExportError

METADATA_NAME = "EQUILENS"
_FACTS = ("unit", "ucd", "description")
# what XML 1.0 has no way to write
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def to_astropy(table: pa.Table, *, ascii_only: bool = False) -> Table:
    """Arrow table as astropy's: nulls masked (NaN for floats), units where they parse.

    Types that FITS or VOTable lack are widened: 8-bit and unsigned integers to the next signed
    one, booleans with nulls to 0 and 1, half floats to single, anything temporal to ISO text.
    """
    result = Table()
    for field, values in zip(table.schema, table.columns, strict=True):
        column = _column(field, values.combine_chunks(), ascii_only)
        facts = field_facts(field)
        column.description = facts.get("description")
        if facts.get("unit"):
            column.unit = u.Unit(facts["unit"])
        if facts.get("ucd"):
            column.meta["ucd"] = facts["ucd"]
        result.add_column(column, name=field.name)
    return result


def field_facts(field: pa.Field) -> dict[str, str]:
    """Unit, UCD and description of an Arrow field, those that it has."""
    facts = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    try:
        u.Unit(facts.get("unit", ""))
    except ValueError:
        # astropy refuses a unit it does not know; the reader still learns it
        unit = facts.pop("unit")
        facts["description"] = f"{facts.get('description', '')} [{unit}]".strip()
    return {key: facts[key] for key in _FACTS if facts.get(key)}


def _column(field: pa.Field, values: pa.Array, ascii_only: bool) -> Column:
    values = _widened(values, field.name)
    mask = np.asarray(values.is_null().to_numpy(zero_copy_only=False), dtype=bool)
    if pa.types.is_string(values.type):
        text = [_text(value, ascii_only) for value in values.fill_null("").to_pylist()]
        data = np.array(text, dtype=str) if text else np.empty(0, dtype="U1")
        return MaskedColumn(data, mask=mask, fill_value="") if mask.any() else Column(data)
    if pa.types.is_floating(values.type):
        return Column(values.to_numpy(zero_copy_only=False))
    filler = pa.scalar(False) if pa.types.is_boolean(values.type) else pa.scalar(0)
    data = values.fill_null(filler.cast(values.type)).to_numpy(zero_copy_only=False)
    if not mask.any():
        return Column(data)
    return MaskedColumn(data, mask=mask, fill_value=_unused(data[~mask]))


def _unused(data: np.ndarray) -> int:
    """An integer that stands for null: none of the data, the smallest that is free."""
    candidate = int(np.iinfo(data.dtype).min)
    taken = set(data[data < candidate + len(data) + 1].tolist())
    while candidate in taken:
        candidate += 1
    return candidate


def _widened(values: pa.Array, name: str) -> pa.Array:
    kind = values.type
    if pa.types.is_dictionary(kind):
        values = values.dictionary_decode()
        kind = values.type
    if kind in (pa.int8(), pa.uint8()) or (pa.types.is_boolean(kind) and values.null_count):
        return values.cast(pa.int16())
    wider = {pa.uint16(): pa.int32(), pa.uint32(): pa.int64(), pa.uint64(): pa.int64()}
    if kind in wider:
        return _cast(values, wider[kind], name)
    if kind == pa.float16():
        return values.cast(pa.float32())
    if pa.types.is_null(kind) or pa.types.is_large_string(kind) or pa.types.is_temporal(kind):
        return _cast(values, pa.string(), name)
    if not (pa.types.is_primitive(kind) or pa.types.is_string(kind)):
        raise ExportError(f"column {name!r} is {kind}, which only Parquet can hold; drop it")
    return values


def _cast(values: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
    try:
        return values.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as problem:
        raise ExportError(f"column {name!r}: {problem}; write Parquet instead") from None


def _text(value: str, ascii_only: bool) -> str:
    if ascii_only:
        # FITS holds printable ASCII only
        return value.encode("ascii", "backslashreplace").decode()
    return _NOT_XML.sub("\ufffd", value)


def from_astropy(table: Table, facts: Mapping[str, Mapping[str, str]]) -> pa.Table:
    """Astropy table as Arrow's; ``facts`` are unit, UCD and description by column."""
    arrays, fields = [], []
    for name in table.colnames:
        column = table[name]
        data = np.asarray(column)
        mask = np.broadcast_to(np.asarray(getattr(column, "mask", False)), data.shape)
        if data.dtype.kind in "SUO":
            text = [None if gone else str(x) for x, gone in zip(data.tolist(), mask, strict=True)]
            array = pa.array(text, pa.string())
        else:
            array = pa.array(data.astype(data.dtype.newbyteorder("=")), mask=np.array(mask))
        arrays.append(array)
        fields.append(pa.field(name, array.type, metadata=dict(facts.get(name, {})) or None))
    return pa.table(arrays, schema=pa.schema(fields))


def write_fits(table: pa.Table, path: Path, metadata: Mapping) -> None:
    """One binary table, ``CANDIDATES``."""
    columns = to_astropy(table, ascii_only=True)
    for name in columns.colnames:
        columns[name].unit = columns[name].description = None
        columns[name].meta = {}
    hdu = fits.table_to_hdu(columns)
    hdu.header["EXTNAME"] = str(metadata.get("table", "candidates")).upper()
    hdu.header["RADESYS"] = ("ICRS", "frame of ra and dec")
    for i, field in enumerate(table.schema, start=1):
        facts = field_facts(field)
        for key, keyword in (("unit", "TUNIT"), ("ucd", "TUCD"), ("description", "TCOMM")):
            if key in facts:
                hdu.header[f"{keyword}{i}"] = _text(facts[key], True)
    if metadata:
        hdu.header[METADATA_NAME] = json.dumps(metadata)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path, output_verify="exception")


def read_fits(path: Path) -> tuple[pa.Table, dict]:
    """The first table of a FITS file, and its provenance."""
    with fits.open(path) as hdus:
        hdu = next((hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)), None)
        if hdu is None:
            raise ExportError(f"{path} holds no binary table")
        table = Table.read(hdu, mask_invalid=False)
        header = hdu.header
    table.convert_bytestring_to_unicode()
    facts = {}
    for i, name in enumerate(table.colnames, start=1):
        found = {
            "unit": header.get(f"TUNIT{i}"),
            "ucd": header.get(f"TUCD{i}"),
            "description": header.get(f"TCOMM{i}"),
        }
        facts[name] = {key: value for key, value in found.items() if value}
    return from_astropy(table, facts), json.loads(header.get(METADATA_NAME, "{}"))


def write_votable(table: pa.Table, path: Path, metadata: Mapping) -> None:
    """One TABLE in TABLEDATA, so that the file can be read by eye."""
    columns = to_astropy(table)
    document = VOTableFile.from_table(columns)
    resource = document.resources[0]
    resource.coordinate_systems.append(CooSys(ID="icrs", system="ICRS"))
    element: TableElement = resource.tables[0]
    # an XML name holds no blanks
    element.name = str(metadata.get("table", "candidates")).replace(" ", "_")
    for field in element.fields:
        if field.ucd and field.ucd.startswith("pos.eq."):
            field.ref = "icrs"
    if metadata:
        text = _NOT_XML.sub("\ufffd", json.dumps(metadata))
        element.params.append(
            Param(document, name=METADATA_NAME, datatype="char", arraysize="*", value=text)
        )
    for key, value in metadata.items():
        text = value if isinstance(value, str) else json.dumps(value)
        element.infos.append(Info(name=key, value=_NOT_XML.sub("\ufffd", text)))
    writeto(document, str(path))


def read_votable(path: Path) -> tuple[pa.Table, dict]:
    """The first table of a VOTable, and its provenance."""
    element = parse(path, verify="exception").get_first_table()
    table = element.to_table(use_names_over_ids=True)
    facts = {}
    for field in element.fields:
        found = {"unit": field.unit, "ucd": field.ucd, "description": field.description}
        facts[field.name] = {key: str(value) for key, value in found.items() if value}
    metadata = next((p.value for p in element.params if p.name == METADATA_NAME), "{}")
    return from_astropy(table, facts), json.loads(str(metadata))


def write_ecsv(table: pa.Table, path: Path, metadata: Mapping) -> None:
    """Text with a YAML header (Astropy Proposal for Enhancement 6)."""
    columns = to_astropy(table)
    columns.meta = {METADATA_NAME.lower(): dict(metadata)} if metadata else {}
    columns.write(path, format="ascii.ecsv")


def read_ecsv(path: Path) -> tuple[pa.Table, dict]:
    """A table in ECSV, and its provenance."""
    table = Table.read(path, format="ascii.ecsv")
    facts = {}
    for name in table.colnames:
        column = table[name]
        found = {
            "unit": column.unit.to_string() if column.unit else "",
            "ucd": column.meta.get("ucd"),
            "description": column.description,
        }
        facts[name] = {key: value for key, value in found.items() if value}
    return from_astropy(table, facts), dict(table.meta.get(METADATA_NAME.lower(), {}))
