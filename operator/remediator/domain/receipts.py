"""What becomes of an alert that was sent to us: each gets exactly one receipt from each policy that wants it."""

import enum


class Receipt(enum.StrEnum):
    """
    What became of an alert.

    The value is the key in the answer to the sender, the metric's `receipt` label and the word on
    the policy; the three never disagree because they share it.
    """

    OPENED = "Opened"
    """It is on a run that was made for it."""
    ATTACHED = "Attached"
    """It was added to the open run of its policy and target."""
    RECORDED = "Recorded"
    """It stood on the open run already."""
    COVERED = "Covered"
    """A run that has ended, or that was folded into a newer one, has answered it."""
    SUSPENDED = "Suspended"
    """It came while everything was suspended: it is recorded, and starts nothing until it resolves or is picked up."""
    RESOLVED = "Resolved"
    """It is over; where an open run waits for that, the run knows it."""
    NO_POLICY = "NoPolicy"
    """No policy wants it."""
    FACT_UNKNOWN = "FactUnknown"
    """Whether a policy wants it could not be told: its `when` or its target cannot be evaluated."""
    POLICY_UNREADABLE = "PolicyUnreadable"
    """A policy that may have been meant for it cannot be read, not even its matchers."""
    MALFORMED = "Malformed"
    """It is no alert."""
    TRUNCATED = "Truncated"
    """The sender left it out itself."""
