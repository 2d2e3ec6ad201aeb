"""Three replicas over one Redis while replicas and Redis are killed, connections are cut, delayed and truncated, and the master fails over:
at the end the history is held against what was promised (history.py)."""
import contextlib
import copy
import http.client
import random
import time

from fleet import Fleet, Story
from history import violations
from proxy import FaultProxy
from redis import Redis
from roost import free_port, wait_for


@contextlib.contextmanager
def proxied(build, seed):
    """A fleet, a Redis that keeps what it acknowledged, and a proxy for each replica on the way."""
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(Redis(port=free_port()))
        proxies = [stack.enter_context(FaultProxy(redis.port, seed + n)) for n in range(3)]
        fleet = stack.enter_context(Fleet(build, [{"address": f"127.0.0.1:{proxy.port}"} for proxy in proxies]))
        yield fleet, redis, proxies


def judge(story, least):
    final = story.end()
    ops = story.ops
    told = {kind: sum(op.kind == kind and op.ok for op in ops) for kind in ("create", "send", "ack", "sleep", "wake", "delete")}
    unanswered = sum(not op.ok for op in ops)
    print(f"acknowledged {told}, without an answer {unanswered}, {len(final.wanted)} sessions left, {len(final.deleted)} deleted, "
          f"{story.watcher.looks} looks for two workloads")
    assert violations(ops, final) == []
    assert story.watcher.most > 0, "no workload was ever seen: the watcher is blind"
    assert told["send"] >= least and told["ack"] >= least and told["create"] >= 3, f"too little happened to prove anything: {told}"
    # The judge is not asleep: the same history without one acknowledged message is refused.
    doctored = copy.deepcopy(final)
    victim = next(session for session, messages in doctored.messages.items() if messages)
    doctored.messages[victim].pop()
    assert any("lost" in violation for violation in violations(ops, doctored))
    return ops, final


def restart(replica):
    replica.kill()
    replica.start(wait=False)


def test_replicas_and_redis_are_killed(build):
    with proxied(build, 1) as (fleet, redis, _):
        story, chance = Story(fleet, 1), random.Random(1)

        def kill_and_kill():
            for turn in range(12):
                time.sleep(chance.uniform(0.3, 2))
                if turn % 4 == 3:
                    redis.kill()
                    redis.start()
                else:
                    restart(chance.choice(fleet.replicas))
        story.play(kill_and_kill)
        for replica in fleet.replicas:
            replica.wait_ready()
        judge(story, least=10)


def test_connections_are_cut_delayed_swallowed_and_truncated(build):
    with proxied(build, 2) as (fleet, _, proxies):
        story, chance = Story(fleet, 2), random.Random(2)

        def meddle():
            for turn in range(20):
                proxy = chance.choice(proxies)
                proxy.mode = ("cut", "delay", "swallow", "truncate", "refuse")[turn % 5]
                if proxy.mode in ("cut", "refuse"):
                    proxy.cut()
                time.sleep(chance.uniform(0.2, 2))
                proxy.mode = "pass"
                proxy.cut()  # what was swallowed is missing: those streams are of no use any more
        story.play(meddle)
        assert sum(proxy.truncated for proxy in proxies) > 0 and sum(proxy.cuts for proxy in proxies) > 0
        judge(story, least=10)


def test_the_master_fails_over(build):
    """With WAIT on every change is on the replica before it is acknowledged: nothing is lost with the master."""
    with contextlib.ExitStack() as stack:
        ports = [free_port() for _ in range(2)]
        settings = ["min-replicas-to-write 0", "repl-diskless-sync-delay 0"]
        servers = [stack.enter_context(Redis(settings, port=ports[0])),
                   stack.enter_context(Redis([*settings, f"replicaof 127.0.0.1 {ports[0]}"], port=ports[1]))]
        wait_for(lambda: "master_link_status:up" in servers[1].cli("INFO", "replication"), what="the replica to be in step")
        sentinel = stack.enter_context(Redis(
            [f"sentinel monitor roost 127.0.0.1 {ports[0]} 1", "sentinel down-after-milliseconds roost 1000",
             "sentinel failover-timeout roost 5000"], port=free_port(), sentinel=True))
        wait_for(lambda: "slaves=1" in sentinel.cli("INFO", "sentinel"), what="the Sentinel to know the replica")
        store = {"sentinels": [f"127.0.0.1:{sentinel.port}"], "master_name": "roost", "check_interval_ms": 500}
        fleet = stack.enter_context(Fleet(build, [store] * 3))
        story = Story(fleet, 3)

        def told(server):  # a Sentinel that changes a server's role cuts its clients off: such a question is asked again
            return server.cli("INFO", "replication", check=False)

        def fail_over_and_back():
            master = 0
            for _ in range(2):
                time.sleep(4)
                servers[master].kill()
                other = 1 - master
                wait_for(lambda: "role:master" in told(servers[other]), 60, "the failover")
                time.sleep(2)
                servers[master].start()
                wait_for(lambda: all(word in told(servers[master]) for word in ("role:slave", "master_link_status:up")), 60, "the old master to follow")
                master = other
        story.play(fail_over_and_back)
        judge(story, least=10)


def test_a_leader_that_is_told_to_stop_hands_over_without_a_gap(build):
    with proxied(build, 4) as (fleet, _, _):
        leader = wait_for(fleet.leader, what="a leader")
        others = [replica for replica in fleet.replicas if replica is not leader]
        uuid = others[0].create()
        leader.process.terminate()
        began = time.monotonic()
        next_leader = wait_for(lambda: (found := fleet.leader()) and found is not leader and found, 10, "another leader")
        took = time.monotonic() - began
        print(f"another replica led after {took * 1000:.0f} ms; the lease is 3 s")
        assert next_leader in others
        for replica in others:
            assert replica.get(f"/session/{uuid}").status == 200
        assert leader.process.wait(30) == 0, leader.tail()
        assert others[0].post(f"/session/{uuid}/sleep").status == 200
        others[1].wait_phase(uuid, "asleep")
        leader.start()


def test_another_leads_within_one_and_a_half_leases_of_a_leader_that_was_killed(build):
    with proxied(build, 8) as (fleet, _, _):
        leader = wait_for(fleet.leader, what="a leader")
        others = [replica for replica in fleet.replicas if replica is not leader]
        uuid = others[0].create()
        leader.process.kill()
        leader.process.wait()
        began = time.monotonic()
        lease_s, asking_s = 3, 0.5
        wait_for(lambda: (found := fleet.leader()) and found in others, 1.5 * lease_s + asking_s, "another leader")
        print(f"another replica led after {time.monotonic() - began:.1f} s; the lease is {lease_s} s")
        others[1].wait_phase(uuid, "running")
        leader.start()


def test_a_replica_that_is_cut_off_reads_in_the_store_or_says_503(build):
    """It never answers 404 for a session that is there, nor shows what is long past."""
    with proxied(build, 5) as (fleet, _, proxies):
        uuid = fleet.replicas[0].create()
        lone, proxy = fleet.replicas[2], proxies[2]
        lone.wait_phase(uuid, "running")
        proxy.mode = "swallow"
        seen = wait_for(lambda: (a := lone.get(f"/session/{uuid}")).status != 200 and a, 30, "an answer that is not from memory")
        assert seen.status == 503 and "retry-after" in seen.headers, seen
        assert lone.get("/sessions").status == 503
        proxy.mode = "pass"
        proxy.cut()
        wait_for(lambda: lone.get(f"/session/{uuid}").status == 200 and lone.get("/sessions").status == 200, 30, "its recovery")


def test_events_reach_every_replica(build):
    with proxied(build, 6) as (fleet, _, _):
        uuid = fleet.replicas[0].create()
        connection = http.client.HTTPConnection("127.0.0.1", fleet.replicas[1].port, timeout=30)
        wait_for(lambda: fleet.replicas[1].session(uuid), what="the session on the other replica")
        connection.request("GET", f"/session/{uuid}/events", headers={"X-API-Key": "your-secure-api-key-change-in-production"})
        stream = connection.getresponse()
        assert stream.status == 200
        assert fleet.replicas[2].post(f"/session/{uuid}/chat", {"message": "hello"}).status == 200
        assert fleet.replicas[0].post(f"/session/{uuid}/sleep").status == 200
        seen, deadline = set(), time.monotonic() + 30
        while not {"message.queued", "session.phase"} <= seen:
            assert time.monotonic() < deadline, seen
            line = stream.fp.readline().decode()
            if line.startswith("event: "):
                seen.add(line[7:].strip())
        connection.close()


def test_one_secret_key_for_one_store(build):
    with proxied(build, 7) as (fleet, _, _):
        odd = fleet.replicas[1]
        odd.stop()
        odd.environment["ROOST_AUTH__SECRET_KEY"] = "00" * 32
        odd.start(wait=False)
        seen = wait_for(lambda: (a := ask_ready(odd)) and "secret_key" in a.body.decode() and a, 30, "the refusal")
        assert seen.status == 503


def ask_ready(replica):
    with contextlib.suppress(OSError):
        return replica.get("/ready", key=None)
    return None
