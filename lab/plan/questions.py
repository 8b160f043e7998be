"""The questions of reach, with the controls that nobody asked for."""

from __future__ import annotations

from lab.model.reach import HOST as HOST_WORD
from lab.model.reach import WIRE as WIRE_WORD
from lab.model.reach import control_of, host_anchor
from lab.model.topology import Reach
from lab.model.words import PortName
from lab.plan.data import End, Question
from lab.plan.where import HOST, WIRE
from lab.plan.wiring import Wiring

# They stand in the IP header only: the host's own stack has no address on the path.
_WIRE_ADDRESS = "10.77.0.1"
_HOST_ADDRESS = "10.77.0.2"


def questions(wiring: Wiring) -> tuple[Question, ...]:
    """All that are put, the ones whose frames must not arrive first: controls come after them."""
    asked = wiring.topology.reach
    controls = {name(question): _control(wiring, question) for question in asked}
    extra = {
        control.name: control
        for control in controls.values()
        if control is not None and control.name not in controls
    }
    return (
        *(
            _question(wiring, question, controls[name(question)])
            for question in sorted(asked, key=lambda question: question.arrives)
        ),
        *extra.values(),
    )


def name(question: Reach) -> str:
    """What a question is called, in its check too."""
    return f"{question.source}.{question.target}.{question.kind}"


def _control(wiring: Wiring, question: Reach) -> Question | None:
    """What has to arrive where this one does not, as a question that nobody asked."""
    control = None if question.arrives else control_of(wiring.topology, question)
    if control is None:
        return None
    said, anchor = name(control), host_anchor(wiring.topology, control)
    if control.target == HOST_WORD and anchor is None:
        # The wire reaches the host at several devices; this is the one that is meant.
        anchor = host_anchor(wiring.topology, question)
        said = f"{control.source}.{HOST_WORD}@{anchor}.{control.kind}"
    return Question(
        name=said,
        source=_end(wiring, control, control.source, anchor),
        target=_end(wiring, control, control.target, anchor),
        kind=control.kind.value,
        arrives=None,
    )


def _question(wiring: Wiring, question: Reach, control: Question | None) -> Question:
    anchor = host_anchor(wiring.topology, question)
    return Question(
        name=name(question),
        source=_end(wiring, question, question.source, anchor),
        target=_end(wiring, question, question.target, anchor),
        kind=question.kind.value,
        arrives=question.arrives,
        control=control.name if control else "",
    )


def _end(wiring: Wiring, question: Reach, word: str, anchor: str | None) -> End:
    if word == WIRE_WORD:
        device = _wire_device(wiring, question)
        return End(name=word, where=WIRE, device=device, address=_WIRE_ADDRESS)
    if word == HOST_WORD:
        assert anchor is not None  # the rules refuse such a question
        device = _host_device(wiring, anchor)
        return End(name=word, where=HOST, device=device, address=_HOST_ADDRESS)
    seat = next(seat for seat in wiring.seats if seat.key == word)
    return End(name=word, where=seat.guest.name, nic=seat.name, mac=seat.mac, address=seat.address)


def _wire_device(wiring: Wiring, question: Reach) -> str:
    """The tester's device in the VLAN of the other end, if that is in one."""
    ends = {question.source, question.target}
    in_vlan = (seat.tester for seat in wiring.seats if seat.key in ends and seat.tester)
    return next(in_vlan, wiring.facts.tester)


def _host_device(wiring: Wiring, anchor: str) -> str:
    bridges = {bridge.name for bridge in wiring.topology.bridges}
    return anchor if anchor in bridges else wiring.port(PortName(anchor)).device
