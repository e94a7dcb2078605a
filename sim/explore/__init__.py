"""Every order of events in a small world of two to four real peers, breadth-first (docs/simulator.md).

A step is one of these, at one host: a message arrives; the commit under way becomes durable; a user asks; time passes
and the peer is woken; a crash and a restart. Hosts share nothing but messages, so what an event does to a host follows
from the state of that host alone and is worked out once, by the real `Peer` behind the real `Outbox`, however many
states of the world it occurs in. That is what makes it fast.

What counts as one state, and what is left out:

* A message in flight may arrive at any time, in any order, or never: a lost one is one that does not arrive. A step
  that neither changes its host nor sends anything is left out for the same reason.
* Each host has a clock of its own, which moves on by steps alone; points in time count relative to it. This is exact,
  as nobody compares clocks. Only the waits that the world names are tried.
* Chance draws names that are never used twice. A choice is made the first and the last way, not those in between.
* A crash is followed by the restart at once, and takes all that is in flight on the host's links with it. That others
  act meanwhile is the same as their acting before or after it, but for how they act on a link that is gone.
  A greeting arrives with the link, unless it waits for a disk. A commit that fails is a crash, as far as the core goes.
* A link that a peer closes stays closed; dials are not answered. Probes and rumours never fall due; what spreads news
  is greetings, anti-entropy and answers.
* Figures that are only shown (`canonical.IRRELEVANT`) do not tell states apart.
"""
