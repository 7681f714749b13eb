"""Columns of the candidate catalogue: name, type, unit, UCD and meaning.

UCDs are of UCD1+ 1.5 (IVOA). A column that stands here carries its unit, UCD and description into
every format that has a place for them; a user's own columns are carried through as they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
from numpy.typing import ArrayLike

from equilens.catalogs.errors import SchemaError


@dataclass(frozen=True)
class Column:
    """One column. ``unit`` is a VOUnit string, empty where the quantity has none."""

    name: str
    dtype: pa.DataType
    description: str
    ucd: str = ""
    unit: str = ""

    def field(self) -> pa.Field:
        """As an Arrow field, its unit, UCD and description in the field's metadata."""
        facts = {"unit": self.unit, "ucd": self.ucd, "description": self.description}
        return pa.field(self.name, self.dtype, metadata={k: v for k, v in facts.items() if v})


TEXT, REAL, WHOLE = pa.string(), pa.float64(), pa.int64()

CATALOG_COLUMNS = (
    Column("rank", WHOLE, "Place by score, 1 is the most lens-like", "stat.rank"),
    Column("id", TEXT, "Identifier in the survey's files", "meta.id;meta.main"),
    Column("name", TEXT, "IAU-style name, or survey and id where the position is unknown",
           "meta.id"),
    Column("ra", REAL, "Right ascension (ICRS), null where unknown", "pos.eq.ra;meta.main", "deg"),
    Column("dec", REAL, "Declination (ICRS), null where unknown", "pos.eq.dec;meta.main", "deg"),
    Column("score", REAL, "What ranks: an uncalibrated logit, or the S/N of a filter",
           "stat.value"),
    Column("probability", REAL, "Calibrated probability of being a lens, where a share "
           "probability_prior of the objects is; valid only if p(x|y), what lenses and non-lenses "
           "look like, is unchanged from the objects that the calibration was fitted to",
           "stat.probability"),
    Column("probability_prior", REAL, "Share of lenses among the objects that probability is of",
           "stat.param"),
    Column("flags", TEXT, "Comma-separated quality flags, empty where there are none",
           "meta.code.qual"),
    Column("survey", TEXT, "Survey that the cutout is from", "meta.dataset"),
    Column("pixel_scale_arcsec", REAL, "Pixel scale of the cutout",
           "pos.angResolution;obs.image", "arcsec"),
    Column("lenscat_name", TEXT, "Nearest known lens or candidate in lenscat, null where none",
           "meta.id.cross"),
    Column("lenscat_separation_arcsec", REAL, "Its distance on the sky", "pos.angDistance",
           "arcsec"),
    Column("lenscat_grading", TEXT, "Its grading in lenscat: confident or probable",
           "meta.code.class"),
    Column("lenscat_type", TEXT, "Its type in lenscat: galaxy, group or cluster", "src.class"),
    Column("_healpix_29", WHOLE, "HEALPix cell, order 29, nested, ICRS; -1 where unknown",
           "pos.healpix"),
    Column("model_sha256", TEXT, "SHA-256 of the weights that gave the score", "meta.checksum"),
    Column("data_fingerprint", TEXT, "Fingerprint of the cutout store", "meta.checksum"),
    Column("source_file", TEXT, "File that the cutout came from", "meta.ref;meta.file"),
)  # fmt: skip

BAND_COLUMNS = (
    Column("noise_njy", REAL, "Background noise a pixel", "stat.stdev;phot.flux.density", "nJy"),
    Column("psf_fwhm_arcsec", REAL, "PSF full width at half maximum", "instr.det.psf", "arcsec"),
)
"""Conditions there is one of for each band: ``noise_njy_<band>`` and ``psf_fwhm_arcsec_<band>``."""

TRUTH_COLUMNS = (
    Column("is_lens", pa.int8(), "Truth: 1 for a lens, 0 for anything else", "meta.code.class"),
    Column("object_class", TEXT, "Truth: kind of object", "src.class"),
    Column("einstein_radius_arcsec", REAL, "Truth: Einstein radius", "phys.angSize", "arcsec"),
    Column("arc_snr", REAL, "Truth: signal-to-noise ratio of the arc", "stat.snr"),
    Column("lens_mag", REAL, "Truth: magnitude of the lens (AB)", "phot.mag", "mag"),
    Column("source_mag", REAL, "Truth: magnitude of the unlensed source (AB)", "phot.mag", "mag"),
    Column("arc_flux_njy", REAL, "Truth: flux of the arc", "phot.flux.density", "nJy"),
    Column("n_arc_pixels", WHOLE, "Truth: pixels that the arc outshines the noise in",
           "meta.number"),
    Column("z_lens", REAL, "Truth: redshift of the lens", "src.redshift"),
    Column("z_source", REAL, "Truth: redshift of the source", "src.redshift"),
    Column("parent_id", TEXT, "Truth: object that this one was made from", "meta.id.parent"),
)  # fmt: skip

_BY_NAME = {column.name: column for column in (*CATALOG_COLUMNS, *TRUTH_COLUMNS)}
REQUIRED = ("rank", "id", "name", "ra", "dec", "score", "survey", "_healpix_29")


def describe_column(name: str) -> Column | None:
    """The schema's column of this name, a band's condition included; None for a user's own."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    for stem in BAND_COLUMNS:
        band = name.removeprefix(f"{stem.name}_")
        if band and band != name:
            return Column(name, stem.dtype, f"{stem.description}, {band} band", stem.ucd, stem.unit)
    return None


def with_schema(table: pa.Table) -> pa.Table:
    """Cast the schema's columns to their types, and attach unit, UCD and description.

    Raises
    ------
    SchemaError
        If a column of the schema can not be cast.
    """
    arrays, fields = [], []
    for field, array in zip(table.schema, table.columns, strict=True):
        column = describe_column(field.name)
        if column is not None:
            try:
                array = array.cast(column.dtype)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as problem:
                raise SchemaError(
                    f"column {column.name!r} must be {column.dtype}, got {field.type}: {problem}; "
                    "rename a column of your own that has this name"
                ) from None
            field = column.field()
        arrays.append(array)
        fields.append(field)
    return pa.table(arrays, schema=pa.schema(fields, metadata=table.schema.metadata))


def check_catalog(table: pa.Table) -> None:
    """Refuse a table that is no candidate catalogue.

    Raises
    ------
    SchemaError
        If a required column is missing, of another type, or not ranked 1, 2, 3, …
    """
    missing = [name for name in REQUIRED if name not in table.column_names]
    if missing:
        raise SchemaError(f"a candidate catalogue needs {list(REQUIRED)}, {missing} are missing")
    for field in table.schema:
        column = describe_column(field.name)
        if column is not None and field.type != column.dtype:
            raise SchemaError(f"column {field.name!r} must be {column.dtype}, got {field.type}")
    if table["rank"].to_pylist() != list(range(1, table.num_rows + 1)):
        raise SchemaError("a candidate catalogue must be sorted by rank: 1, 2, 3, …")


def own_columns(columns: Mapping[str, ArrayLike], taken: Iterable[str]) -> dict[str, ArrayLike]:
    """A user's own columns, those that would shadow one of the catalogue's as ``user_<name>``."""
    taken = set(taken) | {column.name for column in CATALOG_COLUMNS}
    renamed = {f"user_{name}" if name in taken else name: values
               for name, values in columns.items()}  # fmt: skip
    if len(renamed) < len(columns):
        raise SchemaError(f"columns {sorted(columns)} collide once renamed; rename one of them")
    return renamed
