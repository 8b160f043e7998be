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
    found = {
        name(question): control
        for question in asked
        if not question.arrives and (control := control_of(wiring.topology, question))
    }
    extra = {name(control): control for control in found.values() if control not in asked}
    return (
        *(
            _question(wiring, question, question.arrives, found.get(name(question)))
            for question in sorted(asked, key=lambda question: question.arrives)
        ),
        *(_question(wiring, control, None, None) for control in extra.values()),
    )


def name(question: Reach) -> str:
    """What a question is called, in its check too."""
    return f"{question.source}.{question.target}.{question.kind}"


def _question(
    wiring: Wiring, question: Reach, arrives: bool | None, control: Reach | None
) -> Question:
    return Question(
        name=name(question),
        source=_end(wiring, question.source, question),
        target=_end(wiring, question.target, question),
        kind=question.kind.value,
        arrives=arrives,
        control=name(control) if control else "",
    )


def _end(wiring: Wiring, word: str, question: Reach) -> End:
    if word == WIRE_WORD:
        device = _wire_device(wiring, question)
        return End(name=word, where=WIRE, device=device, address=_WIRE_ADDRESS)
    if word == HOST_WORD:
        device = _host_device(wiring, question)
        return End(name=word, where=HOST, device=device, address=_HOST_ADDRESS)
    seat = next(seat for seat in wiring.seats if seat.key == word)
    return End(name=word, where=seat.guest.name, nic=seat.name, mac=seat.mac, address=seat.address)


def _wire_device(wiring: Wiring, question: Reach) -> str:
    """The tester's device in the VLAN of the other end, if that is in one."""
    ends = {question.source, question.target}
    in_vlan = (seat.tester for seat in wiring.seats if seat.key in ends and seat.tester)
    return next(in_vlan, wiring.facts.tester)


def _host_device(wiring: Wiring, question: Reach) -> str:
    found = host_anchor(wiring.topology, question)
    assert found is not None  # the rules refuse such a question
    bridges = {bridge.name for bridge in wiring.topology.bridges}
    return found if found in bridges else wiring.port(PortName(found)).device
