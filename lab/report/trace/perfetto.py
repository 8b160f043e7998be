"""A life as a file that Perfetto (ui.perfetto.dev) and chrome://tracing open.

The Trace Event Format: slices (``X``) on tracks, each a thread of a process, names for both
(``M``), and one flow (``s``, ``t``, ``f``) that follows the packet from slice to slice. Times are
microseconds. Three processes: in whose hands the packet is, what each thread does for it, and the
same by CPU.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from lab.report.life import Life, Step

_HANDS, _THREADS, _CPUS = 1, 2, 3
_PROCESSES = {_HANDS: "who has the packet", _THREADS: "threads", _CPUS: "CPUs"}
_FLOW = "the packet"

_Entry = Mapping[str, Any]


def perfetto(life: Life) -> str:
    """The JSON text."""
    threads = _numbered(_track(step) for step in life.steps)
    hands = _numbered(span.actor.value for span in life.spans)
    cpus = {f"CPU {cpu}": cpu for cpu in sorted({s.cpu for s in life.steps if s.cpu is not None})}
    entries = [
        *_names(_HANDS, hands),
        *_names(_THREADS, threads),
        *_names(_CPUS, cpus),
        *_hands(life, hands),
        *_slices(life, threads),
        *_flow(life, threads),
    ]
    about = {
        "probe": life.probe,
        "guest": f"{life.guest}.{life.nic}",
        "start (CLOCK_REALTIME, ns)": life.start_ns,
        **({"lost": life.loss.words} if life.loss else {}),
    }
    document = {"displayTimeUnit": "ns", "otherData": about, "traceEvents": entries}
    return json.dumps(document, indent=1)


def _track(step: Step) -> str:
    return f"{step.where}: {step.thread or step.device}"


def _numbered(names: Iterable[str]) -> dict[str, int]:
    """Tracks in the order in which the packet came to them."""
    return {name: number for number, name in enumerate(dict.fromkeys(names), start=1)}


def _names(process: int, tracks: Mapping[str, int]) -> Iterator[_Entry]:
    yield _meta("process_name", process, 0, {"name": _PROCESSES[process]})
    yield _meta("process_sort_index", process, 0, {"sort_index": process})
    for name, track in tracks.items():
        yield _meta("thread_name", process, track, {"name": name})
        yield _meta("thread_sort_index", process, track, {"sort_index": track})


def _meta(name: str, process: int, track: int, arguments: _Entry) -> _Entry:
    return {"ph": "M", "name": name, "pid": process, "tid": track, "args": arguments}


def _hands(life: Life, tracks: Mapping[str, int]) -> Iterator[_Entry]:
    for span in life.spans:
        track = tracks[span.actor.value]
        yield _slice(f"{span.actor} ({span.leg})", _HANDS, track, span.begin_ns, span.end_ns)


def _slices(life: Life, threads: Mapping[str, int]) -> Iterator[_Entry]:
    """A step lasts until the next one, on its thread and on its CPU."""
    ends = (*(after.time_ns for _, after in pairwise(life.steps)), life.duration_ns)
    for step, end in zip(life.steps, ends, strict=True):
        about = {
            "event": step.event,
            "direction": step.leg.value,
            "actor": step.actor.value,
            **({"count": step.count} if step.count > 1 else {}),
            **({"may be off by (ns)": step.error_ns} if step.error_ns else {}),
        }
        places = [(_THREADS, threads[_track(step)])]
        if step.cpu is not None:
            places.append((_CPUS, step.cpu))
        for process, track in places:
            yield {**_slice(step.what, process, track, step.time_ns, end), "args": about}


def _slice(name: str, process: int, track: int, begin_ns: int, end_ns: int) -> dict[str, Any]:
    return {
        "ph": "X",
        "name": name,
        "cat": "packet",
        "pid": process,
        "tid": track,
        "ts": begin_ns / 1000,
        "dur": (end_ns - begin_ns) / 1000,
    }


def _flow(life: Life, threads: Mapping[str, int]) -> Iterator[_Entry]:
    """One arrow from step to step wherever the thread changes; it binds to the slice around it."""
    changes = [life.steps[0]] + [
        after for before, after in pairwise(life.steps) if _track(before) != _track(after)
    ]
    for number, step in enumerate(changes):
        phase = "s" if number == 0 else "f" if step is changes[-1] else "t"
        yield {
            "ph": phase,
            "name": _FLOW,
            "cat": "packet",
            "id": 1,
            "bp": "e",
            "pid": _THREADS,
            "tid": threads[_track(step)],
            "ts": step.time_ns / 1000,
        }
