"""The page says what went in, and holds all that it shows."""

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest

from equilens.catalogs.candidates import build_catalog
from equilens.catalogs.evaluation import evaluate_scores
from equilens.catalogs.reference_ranks import rank_table
from equilens.catalogs.truth import Truth
from equilens.pipeline.quarantine import QuarantineRow
from equilens.pipeline.report import (
    EvaluatedSample,
    ReportContent,
    Sample,
    render_report,
    write_report,
)
from equilens.pipeline.report.plots import completeness_figure, roc_figure, sky_figure
from equilens.pipeline.report.tiles import mistake_tiles, shared_flags
from equilens.pipeline.toy import toy_cutouts, write_toy_store

N = 120


class Page(HTMLParser):
    """Addresses and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.words, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [v for k, v in attributes if k in ("src", "href", "srcset")]

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_toy_store(tmp_path_factory.mktemp("toy") / "toy.zarr", toy_cutouts(N, bands=3))


@pytest.fixture(scope="module")
def evaluated(store):
    table = store.table()
    is_lens = table["is_lens"].to_numpy().astype(np.int8)
    columns = {
        "einstein_radius_arcsec": table["einstein_radius_arcsec"].to_numpy(),
        "object_class": np.array(["lens" if lens else "chance_ring" for lens in is_lens], object),
    }
    truth = Truth(table["id"].to_numpy(zero_copy_only=False), is_lens, columns)
    scores = np.random.default_rng(0).normal(2.0 * is_lens)
    scores[3] = -np.inf
    return EvaluatedSample("toys", store, truth, scores, evaluate_scores(is_lens, scores))


@pytest.fixture(scope="module")
def candidates(store, evaluated):
    table = store.table()
    flags = np.array(["padded,no_position" if k else "padded" for k in range(N)], object)
    scores = np.where(np.isfinite(evaluated.scores), evaluated.scores, np.nan)
    conditions = {"flags": flags}
    return build_catalog(
        table["id"].to_pylist(),
        table["ra"].to_numpy(),
        table["dec"].to_numpy(),
        scores,
        "toy",
        conditions=conditions,
        top=30,
    )


@pytest.fixture(scope="module")
def content(store, evaluated, candidates):
    row = QuarantineRow("<b>bad</b>", "a/b.fits", "truncated", "holds 3 bytes", "fetch it again")
    return ReportContent(
        title="Toys & <rings>",
        samples=[Sample("toys", store, None, (row,), 30, "No weights for toys.")],
        candidates=candidates,
        evaluated=evaluated,
        labels={candidates["id"][k].as_py(): int(k == 1) for k in range(4)},
        provenance={"commit": "abc123"},
    )


@pytest.fixture(scope="module")
def html(content, tmp_path_factory):
    path = write_report(tmp_path_factory.mktemp("page") / "report.html", content)
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    return path.read_text()


def test_a_page_is_written_whole_and_needs_nothing_but_itself(html):
    page = Page(html)
    assert html.rstrip().endswith("</html>")
    assert len(page.addresses) > 30
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert "@import" not in html


def test_a_page_says_what_went_in_and_what_came_out(html, evaluated):
    text = Page(html).text
    assert "Toys & <rings>" in text
    assert "The first 24 of 30 by score" in text
    assert "No weights for toys." in text
    assert f"{evaluated.metrics['auroc']:.4f}" in text
    assert "1 of these objects are known lenses and 3 are field objects" in text
    assert "the lenses have rank 2 of 30" in text
    assert "1 of 120 objects could not be used: 1 truncated" in text
    assert "<b>bad</b>" in text
    assert "abc123" in text


def test_known_lenses_stand_among_simulated_non_lenses(content):
    candidates = content.candidates
    ids = candidates["id"].to_pylist()[:4]
    ranks = rank_table(ids, [0.0, 2.0, 1.0, 3.0], np.arange(4.0), labels=[0, 1, 0, 0])
    text = Page(render_report(replace(content, evaluated=None, ranks=ranks))).text
    name = candidates["name"][1].as_py().removeprefix("EQL ")
    assert "Of 4 simulated non-lenses" in text
    assert f"{name} 0.5 [0.068, 0.93]." in text


def test_what_is_not_there_is_left_out(store):
    text = Page(render_report(ReportContent("Only toys", [Sample("toys", store)]))).text
    assert "Every object found could be used." in text
    for absent in ("Best candidates", "simulated non-lenses", "Hardest mistakes", "How well"):
        assert absent not in text


def test_mistakes_are_the_hardest_ones(evaluated):
    false_alarms = mistake_tiles(evaluated, False, 3)
    missed = mistake_tiles(evaluated, True, 3)
    is_lens, scores = evaluated.truth.is_lens == 1, evaluated.scores
    ids = evaluated.truth.ids
    assert [t.heading for t in false_alarms] == list(
        ids[~is_lens][np.argsort(-scores[~is_lens])[:3]]
    )
    assert false_alarms[0].lines[1] == "chance ring"
    seen = is_lens & np.isfinite(scores)
    assert [t.heading for t in missed] == list(ids[seen][np.argsort(scores[seen])[:3]])
    assert missed[0].lines[1].startswith("θ_E ")


def test_the_scale_bar_is_as_long_as_it_says(evaluated):
    tile = mistake_tiles(evaluated, True, 1)[0]
    width_arcsec = 33 * 0.1
    assert tile.bar_percent == pytest.approx(100 * tile.bar_arcsec / width_arcsec)


def test_flags_of_every_candidate_are_told_once(candidates):
    assert shared_flags(candidates) == ["padded"]
    assert shared_flags(candidates.slice(0, 0)) == []


def test_a_figure_without_data_is_none(evaluated):
    assert completeness_figure(evaluated, "arc_snr", "arc S/N") is None
    nowhere = pa.table(
        {"ra": pa.array([None], pa.float64()), "dec": pa.array([None], pa.float64())}
    )
    assert sky_figure(nowhere, None, "") is None


def test_figures_differ_between_light_and_dark_and_state_n(evaluated):
    figure = roc_figure(evaluated)
    assert figure.light != figure.dark
    assert "60 lenses, 60 non-lenses" in figure.caption
