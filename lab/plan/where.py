"""Where something stands: the machine whose kernel carries the packet, or the far end of its cable.

Anything else is the name of a guest.
"""

from __future__ import annotations

HOST = "host"
WIRE = "wire"
