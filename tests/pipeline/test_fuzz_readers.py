"""Readers of untrusted files: their own errors or a row of quarantine, and memory that is bounded.

``pytest -m slow`` tries a hundred times as many.
"""

import ast
import json
import resource
import shutil
import subprocess
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from equilens.models.checkpoint import save_checkpoint
from equilens.models.inputs import InputSpec
from equilens.models.networks import build_finder
from equilens.pipeline.errors import PipelineError, SurveyError
from equilens.pipeline.ingest.batches import read_each
from equilens.pipeline.scores import ScoreStore
from equilens.pipeline.scoring import score
from equilens.pipeline.stores import MANIFEST, CutoutStore
from equilens.pipeline.surveys.loading import LARGEST_BYTES, load_survey, parse_survey
from equilens.pipeline.surveys.survey import MAX_CUTOUT_BYTES
from equilens.pipeline.toy import toy_cutouts, write_toy_store

MEGABYTE = 2**20
CHEAP = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
MANY = settings(CHEAP, max_examples=1200)
SURVEY = """
name = "fuzz"
version = "1"
title = "for fuzzing"
pixel_scale_arcsec = 0.2
shape = [33, 33]
[layout]
kind = "cube"
pattern = "{id}.fits"
[[bands]]
name = "g"
generic = "g"
wavelength_nm = 480
psf_fwhm_arcsec = 0.9
noise_njy = 10.0
zeropoint = 31.4
"""

hostile_numbers = st.one_of(
    st.sampled_from([0, -1, 1, 2**31, 2**40, 2**63, 10**30, 0.5, 1e308]),
    st.integers(),
    st.floats(),
)
hostile_text = st.one_of(
    st.sampled_from(
        ["", "..", "../../etc/passwd", "/etc/passwd", "\0", "{", "{id.__class__}", "𝛼"]
    ),
    st.text(max_size=30),
)
hostile_values = st.recursive(
    st.one_of(st.none(), st.booleans(), hostile_numbers, hostile_text),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(hostile_text, inner, max_size=4)
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "toy.zarr"
    return write_toy_store(path, toy_cutouts(20)).path


@pytest.fixture(scope="module")
def scores(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scores")
    finder = build_finder("d4-resnet-nano", InputSpec(("a", "b"), 0.1, (33, 33)), seed=3)
    weights = save_checkpoint(folder / "random.safetensors", finder, {})
    return score(store, weights, folder / "scores.zarr").path


def read_all(reader):
    """Everything a store gives, or the package's own error; never more memory than it takes."""
    tracemalloc.start()
    try:
        with suppress(PipelineError):
            reader()
        assert tracemalloc.get_traced_memory()[1] < 64 * MEGABYTE
    finally:
        tracemalloc.stop()


def read_cutouts(path):
    found = CutoutStore(path)
    for name in ("ids", "ra", "noise_njy", "wcs_header"):
        found.facts(name)
    found.read(slice(0, 4))
    found.verify()


def read_scores(path):
    found = ScoreStore(path)
    found.ids(), found.flags(), found.outside(), found.combined(), found.verify()


def paths_into(content, prefix=()):
    """Every key path of a JSON document."""
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        yield (*prefix, key)
        if isinstance(value, (dict, list)):
            yield from paths_into(value, (*prefix, key))


def replaced(content, path, value):
    """The document with one of its values changed."""
    copy = json.loads(json.dumps(content))
    entry = copy
    for key in path[:-1]:
        entry = entry[key]
    entry[path[-1]] = value
    return copy


def json_files(path):
    return [*sorted(path.rglob("zarr.json")), path / MANIFEST]


def fuzz_json(data, whole, workplace, reader):
    """One value somewhere in a store's metadata becomes something else."""
    copy = workplace / "copy.zarr"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(whole, copy)
    file = data.draw(st.sampled_from([f.relative_to(copy) for f in json_files(copy)]))
    content = json.loads((copy / file).read_text())
    path = data.draw(st.sampled_from(list(paths_into(content))))
    (copy / file).write_text(json.dumps(replaced(content, path, data.draw(hostile_values))))
    read_all(lambda: reader(copy))


def fuzz_bytes(data, whole, workplace, reader):
    """Bytes of any file of a store change, or go."""
    copy = workplace / "copy.zarr"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(whole, copy)
    files = sorted(file for file in copy.rglob("*") if file.is_file())
    file = data.draw(st.sampled_from(files))
    content = bytearray(file.read_bytes())
    at = data.draw(st.integers(0, len(content)))
    content[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    file.write_bytes(content)
    read_all(lambda: reader(copy))


READERS = [read_cutouts, read_scores]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("change", [fuzz_json, fuzz_bytes])
@given(data=st.data())
@CHEAP
def test_damaged_stores_are_refused_and_nothing_worse(
    data, change, reader, store, scores, tmp_path
):
    change(data, store if reader is read_cutouts else scores, tmp_path, reader)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("change", [fuzz_json, fuzz_bytes])
@given(data=st.data())
@MANY
def test_many_damaged_stores(data, change, reader, store, scores, tmp_path):
    change(data, store if reader is read_cutouts else scores, tmp_path, reader)


def as_toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {as_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return json.dumps("" if value is None else value)


LINES = [number for number, line in enumerate(SURVEY.splitlines()) if " = " in line]


@given(line=st.sampled_from(LINES), value=hostile_values)
@settings(CHEAP, max_examples=60)
def test_any_value_in_a_survey_is_accepted_or_refused_by_name(line, value):
    lines = SURVEY.splitlines()
    lines[line] = f"{lines[line].split(' = ')[0]} = {as_toml(value)}"
    with suppress(SurveyError):
        survey = parse_survey("\n".join(lines))
        assert 4 * len(survey.bands) * survey.shape[0] * survey.shape[1] <= MAX_CUTOUT_BYTES


@given(text=st.one_of(st.text(max_size=200), st.sampled_from(["[" * 5000, "a=" + "[" * 5000])))
@CHEAP
def test_text_that_is_no_survey_is_refused_by_name(text):
    with pytest.raises(SurveyError):
        parse_survey(text)


def test_a_survey_of_100_megabytes_is_not_read(tmp_path):
    path = tmp_path / "huge.toml"
    with path.open("wb") as file:
        file.truncate(100 * MEGABYTE)
    tracemalloc.start()
    try:
        with pytest.raises(SurveyError, match=f"over {LARGEST_BYTES} bytes"):
            load_survey(path)
        assert tracemalloc.get_traced_memory()[1] < 8 * MEGABYTE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[33, 33]", "[8193, 8193]", "bytes"),
        ('"{id}.fits"', '"{id.__class__}.fits"', "may hold"),
        ('"{id}.fits"', '"{id:>999999999}.fits"', "may hold"),
        ('"{id}.fits"', '"../{id}.fits"', "below the source folder"),
        ("noise_njy = 10.0", "noise_njy = inf", "must be positive"),
    ],
)
def test_a_survey_can_not_ask_for_memory_attributes_or_other_folders(old, new, message):
    with pytest.raises(SurveyError, match=message):
        parse_survey(SURVEY.replace(old, new))


def objects_of(manifest):
    survey = parse_survey(SURVEY)
    refs = survey.discover(manifest)
    return list(read_each(survey, refs))


@given(
    rows=st.lists(
        st.fixed_dictionaries(dict.fromkeys(("id", "path", "ra", "dec", "index"), hostile_text)),
        max_size=4,
    )
)
@CHEAP
def test_any_row_of_a_parquet_manifest_is_an_object_or_a_rejection(rows, tmp_path):
    table = pa.table({k: [row[k] for row in rows] for k in ("id", "path", "ra", "dec", "index")})
    pyarrow.parquet.write_table(table, tmp_path / "m.parquet")
    with suppress(PipelineError):
        outcomes = objects_of(tmp_path / "m.parquet")
        assert all(isinstance(outcome, PipelineError) for _, outcome in outcomes)


@given(text=st.one_of(st.binary(max_size=300), st.lists(hostile_text, max_size=6).map(",".join)))
@CHEAP
def test_any_text_as_a_csv_manifest_is_survived(text, tmp_path):
    data = text if isinstance(text, bytes) else f"id,path\n{text}\n".encode(errors="replace")
    (tmp_path / "m.csv").write_bytes(data)
    with suppress(PipelineError):
        objects_of(tmp_path / "m.csv")


@pytest.mark.parametrize("name", ["../secret.fits", "/etc/hostname", "link.fits", "inner/../../s"])
def test_paths_that_leave_the_source_are_rows_of_quarantine(name, tmp_path):
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    (source / "link.fits").symlink_to("/etc/hostname")
    (source / "m.csv").write_text(f"id,path\n1,{name}\n")
    ((_, outcome),) = objects_of(source / "m.csv")
    assert outcome.rule == "outside-source"


CLAIMS = """
import sys
from equilens.pipeline.errors import PipelineError
from equilens.pipeline.fits.reader import read_fits
from equilens.pipeline.stores import CutoutStore
for path in sys.argv[1:]:
    try:
        CutoutStore(path).read(slice(0, 4)) if path.endswith(".zarr") else read_fits(path)
    except PipelineError as error:
        print("refused:", error)
    else:
        sys.exit(f"{path} was read")
"""


def test_claims_of_petabytes_are_refused_within_two_gigabytes_of_address_space(store, tmp_path):
    header = {"SIMPLE": "T", "BITPIX": -32, "NAXIS": 2, "NAXIS1": 10**6, "NAXIS2": 10**6}
    cards = "".join(f"{k:8}= {v!s:>20}".ljust(80) for k, v in header.items()) + "END".ljust(80)
    (tmp_path / "claim.fits").write_bytes(cards.encode().ljust(2880) + b"\0" * 2880)
    for name, key, value in (
        ("shape", "shape", [20, 2, 10**9, 10**9]),
        (
            "chunks",
            "chunk_grid",
            {"name": "regular", "configuration": {"chunk_shape": [2**40] * 4}},
        ),
    ):
        copy = shutil.copytree(store, tmp_path / f"{name}.zarr")
        file = copy / "images" / "zarr.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    paths = [str(path) for path in sorted(tmp_path.iterdir())]
    done = subprocess.run(
        [sys.executable, "-c", CLAIMS, *paths],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31)),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("refused:") == len(paths) == 3


FORBIDDEN = {"os.system", "os.popen", "pickle.load", "pickle.loads", "torch.load", "eval", "exec"}


def calls_in(file):
    """Dotted names of what a module calls, and ``shell=`` where it is given."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)
            yield from (f"{word.arg}=" for word in node.keywords if word.arg == "shell")


def test_no_shell_no_pickle_and_no_code_from_text():
    root = Path(__file__).parents[2]
    found = {
        (file.name, call)
        for name in ("pipeline", "tasks", "models", "catalogs")
        for file in (root / name).rglob("*.py")
        for call in calls_in(file)
        if call in FORBIDDEN | {"shell="}
    }
    # plugin authors check that their survey travels to workers
    assert found == {("conformance.py", "pickle.loads")}
