"""The judge itself: a history that keeps every promise passes, and each doctored one is found out."""
import copy

import pytest

from history import Final, Op, violations

S, T = "aa000001", "bb000002"


def good():
    ops = [
        Op("create", "c", 0, 1, True, S, key="k1"),
        Op("create", "c", 0, 1, False, "", key="k2"),
        Op("create", "c", 1, 2, True, T, key="k2"),
        Op("send", "c", 2, 3, True, S, text="one", message="01"),
        Op("send", "c", 4, 5, True, S, text="two", message="02"),
        Op("claim", "w", 3, 4, True, S, offered=[("01", "one")]),
        Op("ack", "w", 4, 5, True, S, message="01"),
        Op("claim", "w", 6, 7, True, S, offered=[("02", "two")]),
        Op("ack", "w", 7, 8, False, S, message="02"),
        Op("claim", "w", 9, 9.5, True, S, offered=[("02", "two")]),
        Op("ack", "w", 9.5, 10, True, S, message="02"),
        Op("sleep", "c", 100, 101, True, S),
        Op("delete", "c", 100, 101, True, T),
    ]
    final = Final({S: "asleep"}, {T}, {S: [("01", "one", "answered"), ("02", "two", "answered")]}, [])
    return ops, final


def test_a_history_that_keeps_its_promises_passes():
    assert violations(*good()) == []


def test_what_nobody_answered_may_have_happened_or_not():
    ops, final = good()
    ops.append(Op("wake", "c", 102, 107, False, S))
    assert violations(ops, final) == []
    final.wanted[S] = "running"
    assert violations(ops, final) == []


def lose_a_session(ops, final):
    del final.wanted[S]


def undo_a_sleep(ops, final):
    final.wanted[S] = "running"


def bring_back_a_deleted_one(ops, final):
    final.deleted.clear()
    final.wanted[T] = "running"


def delete_what_nobody_deleted(ops, final):
    final.wanted, final.deleted = {}, {S, T}


def leave_a_tombstone_of_what_is_there(ops, final):
    final.wanted[T] = "running"


def make_two_of_one_key(ops, final):
    ops.append(Op("create", "c", 3, 4, True, "cc000003", key="k1"))
    final.wanted["cc000003"] = "running"


def lose_a_message(ops, final):
    del final.messages[S][1]


def change_a_message(ops, final):
    final.messages[S][1] = ("02", "TWO", "answered")


def queue_a_message_twice(ops, final):
    final.messages[S].append(("03", "two", "answered"))


def leave_a_message_in_the_queue(ops, final):
    final.messages[S][1] = ("02", "two", "queued")


def swap_two_messages(ops, final):
    ops[3].message, ops[4].message = "02", "01"
    final.messages[S] = [("01", "two", "answered"), ("02", "one", "answered")]


def offer_an_answered_one(ops, final):
    ops.append(Op("claim", "w", 11, 12, True, S, offered=[("01", "one")]))


def offer_out_of_order(ops, final):
    ops.insert(5, Op("claim", "w", 2.5, 2.6, True, S, offered=[("02", "two")]))


def run_two_workloads(ops, final):
    final.workloads.append((5.0, S, 2))


@pytest.mark.parametrize("doctor, words", [
    (lose_a_session, "gone without a trace"),
    (undo_a_sleep, "is running; it was wanted asleep"),
    (bring_back_a_deleted_one, "is running; it was wanted deleted"),
    (delete_what_nobody_deleted, "nobody asked for that"),
    (leave_a_tombstone_of_what_is_there, "has a tombstone and is there"),
    (make_two_of_one_key, "made several sessions"),
    (lose_a_message, "was acknowledged and is 'lost'"),
    (change_a_message, "was acknowledged and is 'TWO'"),
    (queue_a_message_twice, "is queued 2 times"),
    (leave_a_message_in_the_queue, "is queued at the end"),
    (swap_two_messages, "and stands before it"),
    (offer_an_answered_one, "offered again after it was answered"),
    (offer_out_of_order, "came after 02"),
    (run_two_workloads, "2 workloads at once"),
])
def test_a_doctored_history_is_found_out(doctor, words):
    ops, final = copy.deepcopy(good())
    doctor(ops, final)
    assert any(words in violation for violation in violations(ops, final)), violations(ops, final)
