"""The files of a run and of a ladder, by the names that they have in a results folder."""

from __future__ import annotations

CAPTURE_FILE = "capture.pcapng"
MIGRATION_FILE = "migration.pcapng"
EVIDENCE_FILE = "evidence.json"
RESULT_FILE = "result.json"
LADDER_FILE = "ladder.json"
PAGE_FILE = "report.html"
DMESG_FILE = "dmesg.log"
CONSOLE_FILE = "labhost-console.log"

TOLD = {
    CAPTURE_FILE: "the packets at every hop, for Wireshark",
    EVIDENCE_FILE: "everything that was observed",
    RESULT_FILE: "this report as data",
    DMESG_FILE: "the host kernel's log",
    CONSOLE_FILE: "what the lab host wrote on its console",
}
"""What the report says of them."""
