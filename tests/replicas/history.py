"""Judges what happened while clients worked with several replicas and everything was broken around them.

A history is what the clients saw (`Op`, by any of them) and what was there at the end (`Final`). `violations` names each promise that was
broken: nothing that was acknowledged is lost, nothing is done twice, a queue keeps its order, a session has one workload. It knows nothing
of Roost but its promises, and talks to nobody: a history can be doctored, which is how test_history.py shows that each check cries.
"""
import dataclasses
import typing


@dataclasses.dataclass
class Op:
    kind: str                     # create, sleep, wake, delete, send, claim, ack
    client: str                   # one client does one thing after the other
    began: float                  # seconds, of one clock
    ended: float                  # when the answer came, or was given up
    ok: bool                      # acknowledged; else nobody knows whether it happened
    session: str = ""
    key: str = ""                 # of idempotency
    text: str = ""                # of a send
    message: str = ""             # the id that a send or an ack was answered with
    offered: typing.Sequence = ()  # of a claim: (message, text), in order


@dataclasses.dataclass
class Final:
    wanted: dict                  # session -> "running" or "asleep", for each that is there
    deleted: set                  # sessions whose tombstone is there
    messages: dict                # session -> [(message, text, state)], in the order of the history
    workloads: list               # (when, session, workloads at once) wherever there was more than one


WISHES = {"create": "running", "wake": "running", "send": "running", "sleep": "asleep", "delete": "deleted"}
LATE_S = 60  # what nobody answered may still be done so much later, after something that was acknowledged since


def violations(ops, final):
    ops = sorted(ops, key=lambda op: op.began)
    found = []
    for check in (check_creates, check_wishes, check_sent, check_order, check_offers, check_workloads):
        found += check(ops, final)
    return found


def of_session(ops, *kinds):
    by_session = {}
    for op in ops:
        if op.session and op.kind in kinds:
            by_session.setdefault(op.session, []).append(op)
    return by_session


def check_creates(ops, final):
    """One key makes one session, and an acknowledged one is there or was deleted."""
    made = {}
    for op in ops:
        if op.kind == "create" and op.ok:
            made.setdefault((op.client, op.key), set()).add(op.session)
    for (client, key), sessions in made.items():
        if len(sessions) > 1:
            yield f"the key {key} of {client} made several sessions: {sorted(sessions)}"
    for sessions in made.values():
        for session in sorted(sessions):
            if session not in final.wanted and session not in final.deleted:
                yield f"session {session} was acknowledged and is gone without a trace"


def check_wishes(ops, final):
    """The last acknowledged wish holds, unless one that nobody answered came after it."""
    for session, wishes in of_session(ops, *WISHES).items():
        acknowledged = [op for op in wishes if op.ok]
        if not acknowledged:
            continue
        last = max(acknowledged, key=lambda op: op.ended)
        possible = {WISHES[last.kind]}
        possible |= {WISHES[op.kind] for op in wishes if not op.ok and op.ended > last.began - LATE_S}
        possible |= {WISHES[op.kind] for op in acknowledged if op is not last and op.ended > last.began}  # at the same time
        if any(op.kind == "delete" and op.ok for op in wishes):
            possible = {"deleted"}  # nothing undoes a delete
        there = "deleted" if session in final.deleted and session not in final.wanted else final.wanted.get(session, "nothing")
        if there not in possible:
            yield f"session {session} is {there}; it was wanted {' or '.join(sorted(possible))} since {last.kind} was acknowledged"
        if session in final.deleted and session in final.wanted:
            yield f"session {session} has a tombstone and is there"
        if there == "deleted" and not any(op.kind == "delete" for op in wishes):
            yield f"session {session} was deleted, and nobody asked for that"


def check_sent(ops, final):
    """Each message that was acknowledged is there once, as it was sent."""
    for session, sends in of_session(ops, "send").items():
        if session not in final.messages:
            continue  # deleted, with its messages
        stored = final.messages[session]
        texts = {}
        for message, text, _ in stored:
            texts.setdefault(text, []).append(message)
        for text, messages in texts.items():
            if len(messages) > 1:
                yield f"session {session}: {text!r} is queued {len(messages)} times: {messages}"
        by_id = {message: text for message, text, _ in stored}
        for op in sends:
            if op.ok and by_id.get(op.message) != op.text:
                yield f"session {session}: message {op.message} {op.text!r} was acknowledged and is {by_id.get(op.message, 'lost')!r}"
        known = {op.text for op in sends}
        for message, text, state in stored:
            if text not in known:
                yield f"session {session}: message {message} {text!r} was never sent"
            if state != "answered":
                yield f"session {session}: message {message} {text!r} is {state} at the end"


def check_order(ops, _):
    """Who sends after an acknowledgement stands behind it in the queue."""
    for session, sends in of_session(ops, "send").items():
        done = sorted((op for op in sends if op.ok), key=lambda op: op.ended)
        for op in done:
            later = [other for other in done if other.began > op.ended and other.message <= op.message]
            for other in later:
                yield f"session {session}: {other.text!r} ({other.message}) was sent after {op.text!r} ({op.message}) and stands before it"


def check_offers(ops, _):
    """A consumer sees the messages in order, each until it is answered and not after that."""
    for session, claims in of_session(ops, "claim").items():
        answered = {op.message: op.ended for op in ops if op.kind == "ack" and op.ok and op.session == session}
        greatest = ""
        seen = set()
        for op in claims:
            for message, text in op.offered:
                if answered.get(message, float("inf")) < op.began:
                    yield f"session {session}: {text!r} ({message}) was offered again after it was answered"
                if message not in seen and message < greatest:
                    yield f"session {session}: {text!r} ({message}) came after {greatest}"
                seen.add(message)
                greatest = max(greatest, message)


def check_workloads(_, final):
    for when, session, count in final.workloads:
        yield f"session {session} had {count} workloads at once at {when:.2f}"
