"""What a series of checkpoints says, in one paragraph, whatever it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from synkern.analysis.profile import LayerProfile
from synkern.analysis.scores import PUBLISHED
from synkern.study.numerals import interval, number, percent
from synkern.study.over_training.checkpoints import Checkpoint
from synkern.study.over_training.course import Course
from synkern.study.over_training.measured import FORCED, OWN, Point

ALIKE = 0.7
"""From this rank correlation on, a profile is said to be like the last one; any limit would do."""

_MANY = 0.05
_SAID = {OWN: "With its own text", FORCED: "With one text for all, the answers of {source}"}


def findings_of(found: Course) -> str:
    """Say what became of the profile by the published ranking, and of the loss, and what is open.

    Args:
        found: of all checkpoints, in order, and of other trainings beside.
    """
    points, source = found.points, found.source
    first, last = points[0].checkpoint.label, points[-1].checkpoint.label
    said = [
        f"{len(points)} checkpoints from {first} to {last} were studied by mean difference, the "
        "ranking of the published figures."
    ]
    said += [
        f"{words.format(source=source.label)}, {_of_text(points, text, source)}."
        for text, words in _SAID.items()
    ]
    said += [_of_loss(points), _of_degenerate(points)]
    missing = sum(bool(point.problems) for point in points)
    if missing:
        said.append(f"Of {missing} checkpoints something is missing; the page says what and why.")
    said.append(_of_others(found))
    return " ".join(part for part in said if part)


def _profile(point: Point, text: str) -> LayerProfile | None:
    one = point.under(text)
    return None if one is None else one.profiles.get(PUBLISHED)


def _of_text(points: Sequence[Point], text: str, source: Checkpoint) -> str:
    known = [(point, _profile(point, text)) for point in points]
    studied = [(point, profile) for point, profile in known if profile is not None]
    if not studied:
        return "no checkpoint could be studied"
    (first, begin), (last, end) = studied[0], studied[-1]
    parts = [
        f"the quadratic term is {_term(begin)} at {first.checkpoint.label} and {_term(end)} at "
        f"{last.checkpoint.label}"
    ]
    bent = _stays(studied, _bent)
    if bent is None:
        parts.append("it is not surely below 0 at the end")
    elif bent is first:
        parts.append("it is surely below 0 from the first checkpoint on")
    else:
        before = [profile for _, profile in studied[: [point for point, _ in studied].index(bent)]]
        times = sum(map(_bent, before))
        parts.append(
            f"it is surely below 0 from {bent.checkpoint.label} on"
            + (f", and at {times} of {len(before)} checkpoints before" if times else "")
        )
    shaped = [point.checkpoint.label for point, profile in studied if profile.inverted_u]
    if shaped:
        parts.append(f"{len(shaped)} of {len(studied)} profiles are inverted Us")
    else:
        parts.append("no profile passes the test of an inverted U")
    parts.append(_of_likeness(points, text, source))
    return "; ".join(part for part in parts if part)


def _of_likeness(points: Sequence[Point], text: str, source: Checkpoint) -> str:
    (final,) = [point.under(text) for point in points if point.checkpoint == source]
    if final is None:
        return ""
    alike = []
    for point in points:
        one = point.under(text)
        if point.checkpoint == source or one is None or PUBLISHED not in one.profiles:
            continue
        alike.append((point, one.likeness(final, PUBLISHED)[0]))
    known = [(point, value) for point, value in alike if value is not None]
    if not known:
        return ""
    start = None
    for point, value in reversed(known):
        if value < ALIKE:
            break
        start = point
    ends = f"{number(known[0][1], 2, signed=True)} at {known[0][0].checkpoint.label}"
    if start is None:
        return (
            f"no checkpoint before {source.label} stays like it over the layers (rank correlation "
            f"{ALIKE} or more; {ends})"
        )
    return (
        f"over the layers, profiles are like that of {source.label} (rank correlation {ALIKE} or "
        f"more) from {start.checkpoint.label} on ({ends})"
    )


def _of_others(found: Course) -> str:
    """How the last profiles of other trainings compare, and what is open."""
    if not found.others:
        return (
            "It is one training run: what another seed would give, and whether the model needs "
            "these nodes at any step, is not shown."
        )
    parts = []
    for text, words in ((OWN, "own text"), (FORCED, "one text for all")):
        profile = _profile(next(p for p in found.points if p.checkpoint == found.source), text)
        ends = [] if profile is None else [(profile.quadratic, profile.inverted_u)]
        for other in found.others:
            end = other.end(text, PUBLISHED)
            if end is not None:
                ends.append((end[1]["quadratic_term"], bool(end[1]["inverted_u"])))
        if not ends:
            parts.append(f"with {words} none has a profile at its end")
            continue
        terms = ", ".join(number(term, 2, signed=True) for term, _ in ends)
        shaped = sum(inverted_u for _, inverted_u in ends)
        parts.append(
            f"with {words} the quadratic terms at the ends are {terms}, {shaped} of {len(ends)} an "
            "inverted U"
        )
    return (
        f"Of {1 + len(found.others)} trainings, this one first, {'; '.join(parts)}. Whether the "
        "model needs these nodes at any step is not shown."
    )


def _of_loss(points: Sequence[Point]) -> str:
    known = [(point, point.loss) for point in points if point.loss is not None]
    if len(known) < 2:
        return "The loss on the fixed text could not be followed."
    (first, high), (last, low) = known[0], known[-1]
    text = (
        f"The loss on the fixed text goes from {number(high, 2)} nats at {first.checkpoint.label} "
        f"to {number(low, 2)} at {last.checkpoint.label}"
    )
    if low >= high:
        return f"{text}: it does not fall."
    half = next(point for point, loss in known if loss <= (high + low) / 2)
    said = f"{text}, half of that by {half.checkpoint.label}"
    studied = [
        (point, profile)
        for point, profile in ((point, _profile(point, FORCED)) for point in points)
        if profile is not None
    ]
    bent = _stays(studied, _bent)
    if bent is None:
        return f"{said}; with one text for all no bend has come about with it."
    if bent is studied[0][0]:
        return (
            f"{said}; with one text for all the bend is there at {bent.checkpoint.label} already, "
            "and is none that this training has brought about."
        )
    places = [point.checkpoint for point in points]
    if _bent(studied[0][1]):
        return (
            f"{said}; with one text for all the bend is there at {studied[0][0].checkpoint.label} "
            f"already, is lost, and is there to stay from {bent.checkpoint.label} on."
        )
    order = places.index(bent.checkpoint) - places.index(half.checkpoint)
    when = "at the same checkpoint" if order == 0 else ("before" if order < 0 else "after")
    there = "that" if order else "as that"
    return f"{said}; with one text for all the bend is there {when} {there}."


def _of_degenerate(points: Sequence[Point]) -> str:
    found = []
    for text, words in ((OWN, "own"), (FORCED, "forced")):
        known = [(p, one) for p in points for one in [p.under(text)] if one is not None]
        most = max(known, key=lambda pair: pair[1].nearly_constant, default=None)
        if most is not None and most[1].nearly_constant > _MANY:
            share = percent(most[1].nearly_constant)
            found.append(f"{share} with {words} text at {most[0].checkpoint.label}")
    if not found:
        return ""
    return f"Series that hardly vary make estimates unsafe: they are up to {' and '.join(found)}."


def _stays(
    studied: Sequence[tuple[Point, LayerProfile]], holds: Callable[[LayerProfile], bool]
) -> Point | None:
    """The first point from which on it holds to the end; None if it does not at the end."""
    start = None
    for point, profile in reversed(studied):
        if not holds(profile):
            break
        start = point
    return start


def _bent(profile: LayerProfile) -> bool:
    """Whether the profile surely bends down: it lies higher in the middle than at its ends."""
    return profile.quadratic_interval[1] < 0


def _term(profile: LayerProfile) -> str:
    return f"{number(profile.quadratic, 2, signed=True)} {interval(profile.quadratic_interval)}"
