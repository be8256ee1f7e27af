"""The dashboard: pages over a loop that is running, or has run, and the door at which Label Studio knocks.

A request reads what the loop has stored, from one snapshot, and shows it in words; it never trains, never writes and
never waits for anybody. The webhook only wakes whoever drives the loop: what was answered is collected by the loop
itself. Nobody is shown here which side of the test split a single item is on, or what was predicted for it.

`create_app` makes the application of one loop, `create_front` that of a directory of loops; `serve` runs either in a
thread of its own. `write_report` makes one file of what they show.
"""

from __future__ import annotations

from .access import Access
from .app import create_app
from .front import create_front
from .handout import write_card, write_report
from .serving import Server, serve

__all__ = ["Access", "Server", "create_app", "create_front", "serve", "write_card", "write_report"]
