"""Core ML itself, on this Mac or on one that ssh reaches, through one pushed file (`agent`).

`link` is the line to the agent, `session` an artifact opened there, `placement` what Core ML says
of where each operation runs, beside what the rules foretold.
"""

from edgewise.targets.apple.mac.link import MacAddress, meet, refuse_no_mac
from edgewise.targets.apple.mac.session import open_on_mac

__all__ = ["MacAddress", "meet", "open_on_mac", "refuse_no_mac"]
