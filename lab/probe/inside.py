"""What is done inside the guest: its own captures, its echo servers, and the packets that it sends.

Everything goes through the guest agent, one shell script (busybox ash) per step, since a round trip
through the agent of a nested guest is dear. The scripts need tcpdump, socat and ip.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from scapy.utils import RawPcapReader

from lab.errors import StartError
from lab.evidence.guest import NicEvidence
from lab.evidence.packets import Capture
from lab.plan.data import Direction
from lab.probe.capture import FILTER_EXPRESSION, Frame, untagged
from lab.probe.frames import checksum_left_out, echo_request
from lab.probe.lane import PATIENCE, Guest, Lane, Ran
from lab.probe.mark import ECHO_PORT, MARK_LENGTH, PROBE_PORT, STREAM_PORT, Packet, fill

_FOLDER = "/tmp/hoplab"  # noqa: S108  # in the guest, which is ours alone
_DROPPED = re.compile(r"(\d+) packets dropped by kernel")

# Each program says on its standard error that it listens; that line is handed on through a fifo,
# so nobody polls. The fifo is opened for reading and writing, so that no open blocks and no writer
# finds it without a reader. `dd` keeps the boundaries of the datagrams that a seqpacket socket
# gives it, a pipe would not.
_START = """
d={folder}
[ ! -e $d ] || rm -r $d
mkdir $d
mkfifo $d/ready $d/done
exec 4<>$d/ready
serve() {{
  name=$1; shift
  {{
    {{ "$@" 2>&1 >/dev/null & echo $! >$d/$name.pid; wait; }} | {{
      while read -r line; do
        echo "$line" >>$d/$name.err
        case $line in *listening*) echo ready >&4;; esac
      done
      echo "$name ended" >&4
      [ $name != tcpdump ] || echo >$d/done
    }}
  }} </dev/null >/dev/null 2>&1 &
}}
serve tcpdump tcpdump -Z root -i {device} -w $d/pcap -U --immediate-mode \\
  --time-stamp-precision=nano '{expression}'
"""

_SERVE = """
serve udp socat -d -d -b 65536 UDP4-LISTEN:{port},reuseaddr \\
  'EXEC:dd bs=65536,socktype=5'
serve tcp socat -d -d -t {patience} TCP4-LISTEN:{stream_port},reuseaddr,fork EXEC:sha256sum
"""

_READY = """
for each in {programs}; do
  read -r line <&4
  [ "$line" = ready ] || {{ cat $d/*.err >&2; exit 1; }}
done
"""

# With seqpacket (type 5) each `printf` is one datagram, and the end of the script ends socat.
_SEND = """
d={folder}
F='{fill}'; export d F
: >$d/udp.out; : >$d/icmp.out
cat >$d/hop.sh <<'END'
{hop}
END
cat >$d/udp.sh <<'END'
{udp}
dd bs=65536 count={udps} >$d/udp.out
END
cat >$d/icmp.sh <<'END'
{icmp}
dd bs=65536 count={icmps} >$d/icmp.out
END
ip neigh flush dev {device}
send() {{ socat -b 65536 -t 0.01 -T {patience} "EXEC:sh $d/$1.sh,socktype=5" $2 2>/dev/null; }}
send icmp IP4-SENDTO:{peer}:1
send hop UDP4-DATAGRAM:{peer}:{probe_port}
send udp UDP4:{peer}:{port}
head -c {bytes} /dev/urandom >$d/tcp.in
sent=$(sha256sum <$d/tcp.in)
got=$(socat -t {patience} - TCP4:{peer}:{stream_port},connect-timeout={patience} \\
  <$d/tcp.in 2>$d/tcp.err)
[ "${{sent%% *}}" = "$got" ] && echo same >&2 || cat $d/tcp.err >&2
cat $d/udp.out $d/icmp.out
"""

# Each `printf` is one frame, as above.
_RAW = """
cat >{folder}/raw.sh <<'END'
{commands}
END
socat -u "EXEC:sh {folder}/raw.sh,socktype=5" INTERFACE:{device}
"""

_STOP = """
d={folder}
for file in $d/*.pid; do
  read -r pid <$file
  kill -INT $pid
done
read -r line <$d/done
while read -r line; do echo "$line"; done <$d/tcpdump.err >&2
cat $d/pcap
"""


@dataclass(frozen=True)
class Answers:
    """What came back to the guest: all UDP and ICMP answers, and whether its TCP bytes did."""

    datagrams: bytes
    tcp: bool
    note: str


def listen(lane: Lane) -> None:
    """Start capture and echo servers in the guest; all of them listen when this returns.

    Raises StartError with what the program said that does not.
    """
    script = (
        _START.format(folder=_FOLDER, device=lane.nic.device, expression=FILTER_EXPRESSION),
        _SERVE.format(port=ECHO_PORT, stream_port=STREAM_PORT, patience=PATIENCE),
        _READY.format(programs="1 2 3"),
    )
    run(lane.guest, "".join(script), "start capture and echo servers")


def watch(guest: Guest, nic: NicEvidence) -> None:
    """Start a capture of one NIC, which runs when this returns; several may run. Raises
    StartError."""
    script = (
        _START.format(folder=_watching(nic), device=nic.device, expression=FILTER_EXPRESSION),
        _READY.format(programs="1"),
    )
    run(guest, "".join(script), "start a capture")


def send(lane: Lane, patience: int) -> Answers:
    """Let the guest forget its neighbours, then send its packets and a TCP stream to the tester.

    A step ends after ``patience`` seconds in which nothing came back.
    """
    result = run(lane.guest, _send_script(lane, patience), "send its packets")
    said = result.err.strip().splitlines()
    same = said[-1:] == ["same"]
    note = "" if same else " ".join(said) or "the tester received other bytes"
    return Answers(result.raw, same, note)


def stop(lane: Lane) -> tuple[tuple[Frame, ...], Capture]:
    """End what `listen` started; what the guest saw, stamped by the guest's own clock."""
    return _stop(lane.guest, lane.nic, _FOLDER)


def watched(guest: Guest, nic: NicEvidence) -> tuple[tuple[Frame, ...], Capture]:
    """End what `watch` started; what the guest saw there, stamped by the guest's own clock."""
    return _stop(guest, nic, _watching(nic))


def send_frames(guest: Guest, nic: NicEvidence, frames: Iterable[bytes]) -> None:
    """Let the guest send frames as they are, through one of its NICs. Raises StartError."""
    script = _RAW.format(
        folder=_watching(nic),
        commands="\n".join(f"printf '{escaped(frame)}'" for frame in frames),
        device=nic.device,
    )
    run(guest, script, "send frames")


def _watching(nic: NicEvidence) -> str:
    return f"{_FOLDER}-{nic.device}"


def _stop(guest: Guest, nic: NicEvidence, folder: str) -> tuple[tuple[Frame, ...], Capture]:
    name = guest.plan.name
    result = run(guest, _STOP.format(folder=folder), "end its capture")
    dropped = _DROPPED.search(result.err)
    if dropped is None:
        raise StartError(f"guest {name}: tcpdump ended without its summary", output=result.err)
    frames = tuple(_frames(name, nic, result.raw))
    return frames, Capture(where=name, packets=len(frames), drops=int(dropped[1]))


def _send_script(lane: Lane, patience: int) -> str:
    packets = [packet for packet in lane.packets if packet.direction is Direction.OUT]
    lines = {
        kind: [_printf(packet) for packet in packets if packet.kind == kind]
        for kind in ("hop", "udp", "icmp")
    }
    return _SEND.format(
        folder=_FOLDER,
        fill=fill(max(packet.size for packet in packets)).decode(),
        **{kind: "\n".join(commands) for kind, commands in lines.items()},
        udps=len(lines["udp"]),
        icmps=len(lines["icmp"]),
        device=lane.nic.device,
        peer=lane.ends.tester,
        port=ECHO_PORT,
        probe_port=PROBE_PORT,
        stream_port=STREAM_PORT,
        patience=patience,
        bytes=lane.probe.tcp_bytes,
    )


def _printf(packet: Packet) -> str:
    """The command that writes what is to be sent, in one write.

    busybox's printf writes at once what fits its buffer of 4 KiB; longer ones go through dd.
    """
    payload = packet.payload
    head = payload[:MARK_LENGTH]
    if packet.kind == "icmp":
        head = echo_request(packet.number, 1, payload)[: 8 + MARK_LENGTH]
    command = f"printf '{escaped(head)}%.{len(payload) - MARK_LENGTH}s' \"$F\""
    return command if len(payload) < 4000 else f"{command} | dd bs=65536 iflag=fullblock"


def escaped(data: bytes) -> str:
    """Bytes in the format string of printf(1)."""
    return "".join(f"\\{byte:03o}" for byte in data)


def run(guest: Guest, script: str, what: str) -> Ran:
    """Run a script there; ``what`` says in an error what it was to do. Raises StartError."""
    result = guest.run(script)
    if result.returncode:
        raise StartError(
            f"guest {guest.plan.name} could not {what} (status {result.returncode})",
            output=result.err,
        )
    return result


def _frames(where: str, nic: NicEvidence, pcap: bytes) -> Iterator[Frame]:
    """tcpdump says nothing of the direction: what has the NIC's own address is outgoing."""
    mac = bytes.fromhex(nic.mac.replace(":", ""))
    for raw, meta in RawPcapReader(io.BytesIO(pcap)):  # type: ignore[arg-type]
        data, vlan = untagged(raw)
        yield Frame(
            where=where,
            device=nic.device,
            time_ns=meta.sec * 1_000_000_000 + meta.usec,  # --time-stamp-precision=nano
            data=data,
            outgoing=data[6:12] == mac,
            vlan=vlan,
            partial=checksum_left_out(data),
        )
