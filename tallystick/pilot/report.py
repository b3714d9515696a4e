"""The pilot's report: one HTML page with plots, for somebody who decides and is not a statistician."""

from __future__ import annotations

import copy
import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Final

import jinja2
import matplotlib as mpl
import numpy as np

mpl.use("Agg")  # no display

from markupsafe import Markup
from matplotlib.figure import Figure

from agency_node.encoding import EncodingKeys, EncodingSection
from tallystick.pilot.errors import PilotError
from tallystick.pilot.leaks import leak_report
from tallystick.pilot.output import bands
from tallystick.pilot.run import PilotOptions, PilotResult, run_pilot
from tallystick.pilot.whatif import what_if
from tallystick.privacy.render import render_section

PAGE: Final = "report.html"
_MOST_ROWS_TWICE: Final = 60_000


def write_report(
    result: PilotResult,
    options: PilotOptions,
    folder: Path,
    progress: Callable[[str], None],
    *,
    privacy: bool = True,
) -> None:
    """Write ``report.html`` and its plots into ``folder``, which is made if need be.

    ``privacy`` adds how badly such encodings would leak, which takes about half a minute.
    """
    folder.mkdir(parents=True, exist_ok=True)
    progress("changing records to see who would still be found")
    section = EncodingSection.from_json(result.section)
    key = hashlib.sha256(f"tallystick pilot {options.seed}".encode()).digest()
    keys = EncodingKeys.derive(key, "pilot", 1, result.section)
    largest = max(result.parties, key=len)
    changes = what_if(
        largest.sample,
        section,
        keys,
        result.choice.threshold,
        random.Random(options.seed),  # noqa: S311 - sampling
    )
    _plot_errors(result, folder / "errors.png")
    if result.truth is not None:
        _plot_truth(result, folder / "truth.png")
        _plot_calibration(result, folder / "calibration.png")
    template = files("tallystick.pilot").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["percent"] = lambda share: f"{share:.2%}"
    page = environment.from_string(template).render(
        result=result,
        choice=result.choice,
        bands=bands(result),
        changes=changes,
        changed_agency=largest.agency,
        leaks=Markup(render_section(leak_report(result, progress))) if privacy else None,  # noqa: S704 - escaped
        plain=_plain_cost(result, options, progress),
        f1=result.truth.score.f1_interval(np.random.default_rng(result.seed)) if result.truth else None,
    )
    (folder / PAGE).write_text(page, encoding="utf-8")


def _plain_cost(
    result: PilotResult, options: PilotOptions, progress: Callable[[str], None]
) -> PilotResult | None:
    """The same pilot without hardening, or None where it is too large to run twice or already plain."""
    section = copy.deepcopy(result.section)
    projections = section["projections"]
    assert isinstance(projections, list), "the section was checked when the pilot began"
    for projection in projections:
        assert isinstance(projection, dict), "the section was checked when the pilot began"
        projection["hardening"] = {"kind": "plain/v1"}
    if section == result.section or sum(map(len, result.parties)) > _MOST_ROWS_TWICE:
        return None
    progress("once more without hardening, to see what it costs")
    try:
        return run_pilot(replace(options, section=section, threshold=None), lambda _text: None)
    except PilotError:
        return None  # the comparison is an extra: the report does without it


def _plot_errors(result: PilotResult, path: Path) -> None:
    curve, choice = result.curve, result.choice
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(curve.grid, np.maximum(curve.rate, 1e-5), color="#1d70b8", label="estimated part that is wrong")
    axes.set_yscale("log")
    axes.set_xlabel("threshold")
    axes.set_ylabel("part of the links that is wrong")
    axes.axvline(choice.threshold, color="#d4351c", label="chosen threshold")
    axes.axvspan(choice.settled.low, choice.settled.high, color="#d4351c", alpha=0.15, label="95 % interval")
    links = axes.twinx()
    links.plot(curve.grid, curve.links, color="#505a5f", linestyle=":", label="links")
    links.set_ylabel("links")
    axes.legend(loc="upper right")
    figure.savefig(path, dpi=110)


def _plot_truth(result: PilotResult, path: Path) -> None:
    assert result.truth is not None, "plotted only with truth"
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    grid, curve = result.curve.grid, result.truth.curve
    for label, values in (
        ("precision", [one.precision for one in curve]),
        ("recall", [one.recall for one in curve]),
        ("F1", [one.f1 for one in curve]),
    ):
        axes.plot(grid, values, label=label)
    axes.axvline(result.choice.threshold, color="#d4351c", label="chosen without truth")
    axes.set_xlabel("threshold")
    axes.legend(loc="lower left")
    figure.savefig(path, dpi=110)


def _plot_calibration(result: PilotResult, path: Path) -> None:
    assert result.truth is not None, "plotted only with truth"
    figure = Figure(figsize=(5.5, 5), layout="constrained")
    axes = figure.subplots()
    real = np.array([1 - one.precision if one.links else np.nan for one in result.truth.curve])
    axes.loglog(np.maximum(result.curve.rate, 1e-5), np.maximum(real, 1e-5), marker=".", color="#1d70b8")
    axes.loglog([1e-5, 1], [1e-5, 1], color="#505a5f", linestyle="--")
    axes.set_xlabel("estimated part that is wrong")
    axes.set_ylabel("part that is really wrong")
    figure.savefig(path, dpi=110)
