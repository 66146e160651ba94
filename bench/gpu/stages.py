"""The table of all stages of `bench.gpu.check`. Needs nothing but Python."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: of its file.
        value: those of more are run first.
        seconds: that it may take in a call of the check.
        function: MODULE:FUNCTION that has its items, see `bench.gpu.stage`.
        longest: seconds in which something has to end, or it counts as hung.
        beside: it runs in several processes beside the others, on cores that these do not need.
    """

    name: str
    value: int
    seconds: float
    function: str
    longest: float = 60
    beside: bool = False


def _stage(name: str, value: int, seconds: float, function: str, longest: float = 60) -> Stage:
    return Stage(name, value, seconds, f"bench.gpu.{function}", longest)


def _beside(name: str, value: int, seconds: float, function: str) -> Stage:
    return Stage(name, value, seconds, f"bench.gpu.{function}", 200, beside=True)


STAGES = (
    _beside("truths", 100, 400, "truth:items"),
    _beside("cupy-compile", 100, 400, "check_cupy:compilation"),
    _beside("triton-compile", 100, 400, "check_triton:compilation"),
    _stage("environment", 99, 30, "check_device:environment"),
    _stage("cupy-environment", 98, 30, "check_cupy:environment"),
    _stage("smoke", 95, 90, "check_edges:smoke"),
    _stage("roofline", 90, 30, "check_device:roofline"),
    _stage("micro", 89, 30, "check_micro:items"),
    _stage("cupy-timing", 85, 90, "check_cupy:timing"),
    _stage("triton-timing", 84, 120, "check_triton:timing"),
    _stage("profile", 80, 200, "check_calls:profile", longest=90),
    _stage("calls", 75, 45, "check_calls:calls"),
    _stage("rescued", 72, 60, "check_edges:rescued"),
    _stage("large", 70, 90, "check_edges:large"),
    _stage("cold", 68, 120, "check_calls:cold", longest=120),
    _stage("cupy-streams", 60, 20, "check_cupy:streams"),
    _stage("triton-launches", 60, 30, "check_triton:launches"),
    _stage("triton-vectors", 60, 20, "check_triton:vectors"),
    _stage("models", 55, 90, "check_models:models"),
    _stage("cupy-correctness", 50, 150, "check_cupy:correctness"),
    _stage("triton-correctness", 49, 200, "check_triton:correctness"),
    _stage("cupy-sanitizer", 40, 240, "check_cupy:sanitizer", longest=120),
    _stage("triton-sanitizer", 39, 240, "check_triton:sanitizer", longest=120),
    _stage("speed", 30, 300, "check_device:speed", longest=90),
    _stage("triton-sweep", 20, 300, "check_triton:sweep"),
    _stage("torch-compile", 10, 90, "check_triton:torch_compile", longest=90),
)
"""All stages; what each does is said in its module."""
