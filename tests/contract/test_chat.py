"""Chat is a durable, ordered queue: nothing acknowledged is lost, also across kill -9."""
import threading


def chat(daemon, uuid, text):
    answer = daemon.post(f"/session/{uuid}/chat", {"message": text})
    assert answer.status in (200, 202), answer
    assert answer.json["status"] == "queued" and answer.json["uuid"] == uuid
    return answer.json


def claim(daemon, uuid, **body):
    answer = daemon.post(f"/session/{uuid}/messages/claim", {"max": 1, "wait_s": 0, **body})
    assert answer.status == 200, answer
    return answer.json["messages"]


def test_messages_are_claimed_in_order_and_acked(daemon):
    uuid = daemon.create(running=False)
    for i in range(5):
        assert chat(daemon, uuid, f"m{i}")["queue_length"] == i + 1
    assert daemon.get(f"/session/{uuid}/status").json["queue_length"] == 5
    for i in range(5):
        (message,) = claim(daemon, uuid)
        assert message["message"] == f"m{i}" and message["attempt"] == 1
        assert claim(daemon, uuid) == [], "nothing behind a claimed head is offered"
        done = daemon.post(f"/session/{uuid}/messages/{message['id']}/ack", {"reply": {"text": f"r{i}"}})
        assert done.status == 200, done
    assert daemon.get(f"/session/{uuid}/status").json["queue_length"] == 0
    history = daemon.get(f"/session/{uuid}/messages").json["messages"]
    assert [(m["message"], m["reply"]["text"]) for m in history] == [(f"m{i}", f"r{i}") for i in range(5)]


def test_a_message_that_is_not_acked_comes_again(daemon):
    uuid = daemon.create(running=False)
    chat(daemon, uuid, "again")
    (first,) = claim(daemon, uuid, visibility_s=1)
    (second,) = claim(daemon, uuid, wait_s=10)
    assert second["id"] == first["id"] and second["attempt"] == 2


def test_a_waiting_claim_is_answered_by_a_new_message(daemon):
    uuid = daemon.create(running=False)
    got = []
    waiter = threading.Thread(target=lambda: got.extend(claim(daemon, uuid, wait_s=20)))
    waiter.start()
    chat(daemon, uuid, "hello")
    waiter.join(20)
    assert [m["message"] for m in got] == ["hello"]


def test_acknowledged_messages_survive_kill_9(daemon):
    uuid = daemon.create(running=False)
    for i in range(20):
        chat(daemon, uuid, f"m{i}")
        if i % 7 == 3:
            daemon.kill()
            daemon.start()
    texts = []
    while messages := claim(daemon, uuid, max=3):
        for message in messages:
            texts.append(message["message"])
            daemon.post(f"/session/{uuid}/messages/{message['id']}/ack", {"reply": None})
    assert texts == [f"m{i}" for i in range(20)]


def test_chat_wakes_a_sleeping_session(daemon):
    uuid = daemon.create()
    daemon.post(f"/session/{uuid}/sleep")
    daemon.wait_phase(uuid, "asleep")
    chat(daemon, uuid, "wake up")
    daemon.wait_phase(uuid, "running")


def test_an_idempotency_key_queues_once(daemon):
    uuid = daemon.create(running=False)
    headers = {"Idempotency-Key": "m-1"}
    first = daemon.post(f"/session/{uuid}/chat", {"message": "x"}, headers=headers).json
    second = daemon.post(f"/session/{uuid}/chat", {"message": "x"}, headers=headers).json
    assert first["message_id"] == second["message_id"]
    assert daemon.get(f"/session/{uuid}/status").json["queue_length"] == 1
