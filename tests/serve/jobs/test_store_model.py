"""Random sequences of operations on each store, compared with a model in memory."""

import itertools
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from capjax.serve.jobs import IdempotencyConflict, JobLimits, JobNotFound, Lease, QueueFull, SqliteJobStore, open_store

LIMITS = JobLimits(max_queued=4, max_spool_bytes=40, max_attempts=2, result_seconds=50, upload_seconds=60)
OWNERS = st.sampled_from(["", "kim"])
SHARED_MEMORY = Path("/dev/shm")  # a disk that need not be waited for


@dataclass
class ModelJob:
    """What a store must say of a job."""

    owner: str
    request: dict
    media: bytes
    key: str | None
    position: int
    state: str = "queued"
    progress: float = 0.0
    outcome: object = None
    attempts: int = 0
    token: str | None = None
    lease_expires: float = 0.0
    expires: float | None = None


@dataclass
class Model:
    """A queue in memory: the simplest program that does what the interface says."""

    now: float = 1_800_000_000.0
    jobs: dict[str, ModelJob] = field(default_factory=dict)
    counter: itertools.count = field(default_factory=itertools.count)

    def visible(self, job_id: str, owner: str) -> ModelJob | None:
        job = self.jobs.get(job_id)
        return job if job and job.owner == owner and (job.expires is None or job.expires > self.now) else None

    def active(self, *states: str) -> list[str]:
        ids = [job_id for job_id, job in self.jobs.items() if job.state in states]
        return sorted(ids, key=lambda job_id: self.jobs[job_id].position)

    def by_key(self, owner: str, key: str | None) -> str | None:
        ids = [job_id for job_id, job in self.jobs.items() if job.key == key and self.visible(job_id, owner)]
        return ids[0] if key is not None and ids else None

    def end(self, job: ModelJob, state: str, outcome: object = None):
        job.state, job.outcome, job.token, job.expires = state, outcome, None, self.now + LIMITS.result_seconds
        job.progress = 1.0 if state == "done" else job.progress

    def claim(self) -> str | None:
        running = [(self.jobs[job_id].lease_expires, job_id) for job_id in self.active("running")]
        for lease_expires, job_id in sorted(running):
            job = self.jobs[job_id]
            if lease_expires <= self.now:
                if job.attempts >= LIMITS.max_attempts:
                    self.end(job, "failed", "worker_lost")
                else:
                    job.state, job.progress, job.token, job.position = "queued", 0.0, None, next(self.counter)
        queued = self.active("queued")
        return queued[0] if queued else None

    def holder(self, lease: Lease) -> ModelJob | None:
        job = self.jobs[lease.job.id]
        return job if job.token == lease.token else None


class StoreMachine(RuleBasedStateMachine):
    """Applies each operation to the store and to the model."""

    leases = Bundle("leases")
    ids = Bundle("ids")
    location = None

    @initialize()
    def open(self):
        self.model = Model()
        if self.location is None:
            self.folder = tempfile.TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None)
            self.store = SqliteJobStore(self.folder.name, LIMITS)
        else:
            self.store = open_store(self.location, LIMITS)
            self.store._client.flushdb()
        self.store._now = lambda: self.model.now

    def teardown(self):
        self.store.close()
        if self.location is None:
            self.folder.cleanup()

    @rule(
        target=ids, owner=OWNERS, request=st.sampled_from([{}, {"n": 1}]),
        media=st.sampled_from([b"", b"1", b"123456789"]), key=st.sampled_from([None, None, "a", "b"]),
    )  # fmt: skip
    def submit(self, owner, request, media, key):
        model = self.model
        earlier = model.by_key(owner, key)
        spooled = sum(len(model.jobs[job_id].media) for job_id in model.active("queued", "running"))
        try:
            job_id = self.store.submit(owner, request, [media] if media else [], idempotency_key=key).id
        except IdempotencyConflict:
            assert earlier and (model.jobs[earlier].request, model.jobs[earlier].media) != (request, media)
            return earlier
        except QueueFull:
            full = len(model.active("queued")) >= LIMITS.max_queued
            assert not earlier and (full or spooled + len(media) > LIMITS.max_spool_bytes)
            return multiple()
        if earlier:
            assert job_id == earlier and (model.jobs[job_id].request, model.jobs[job_id].media) == (request, media)
        else:
            assert job_id not in model.jobs and len(model.active("queued")) < LIMITS.max_queued
            model.jobs[job_id] = ModelJob(owner, request, media, key, next(model.counter))
        return job_id

    @rule(target=leases, lease_seconds=st.sampled_from([5.0, 15.0]))
    def claim(self, lease_seconds):
        job_id, lease = self.model.claim(), self.store.claim("worker", lease_seconds)
        assert (lease and lease.job.id) == job_id
        if lease is None:
            return multiple()
        job = self.model.jobs[job_id]
        job.state, job.token, job.attempts = "running", lease.token, job.attempts + 1
        job.lease_expires = self.model.now + lease_seconds
        with self.store.open_media(lease.job) as path:
            assert path.read_bytes() == job.media
        return lease

    @rule(lease=leases, progress=st.sampled_from([0.25, 1.0]))
    def renew(self, lease, progress):
        if lease.job.id not in self.model.jobs:
            return
        job = self.model.holder(lease)
        assert self.store.renew(lease, progress, 5.0) == bool(job)
        if job:
            job.progress, job.lease_expires = progress, self.model.now + 5.0

    @rule(lease=leases, outcome=st.sampled_from([{"result": {"a": 1}}, {"error": {"kind": "k", "message": "m"}}]))
    def finish(self, lease, outcome):
        if lease.job.id not in self.model.jobs:
            return
        job = self.model.holder(lease)
        assert self.store.finish(lease, **outcome) == bool(job)
        if job:
            self.model.end(job, "done" if "result" in outcome else "failed", outcome)

    @rule(lease=leases)
    def release(self, lease):
        if lease.job.id not in self.model.jobs:
            return
        job = self.model.holder(lease)
        assert self.store.release(lease) == bool(job)
        if job:
            job.state, job.progress, job.token, job.attempts = "queued", 0.0, None, job.attempts - 1

    @rule(job_id=ids, owner=OWNERS)
    def cancel(self, job_id, owner):
        job = self.model.visible(job_id, owner)
        try:
            self.store.cancel(job_id, owner)
        except JobNotFound:
            assert job is None
            return
        if job.state in ("queued", "running"):
            self.model.end(job, "canceled")

    @rule(seconds=st.sampled_from([1.0, 5.0, 15.0, 60.0]))
    def advance(self, seconds):
        self.model.now += seconds

    @rule()
    def purge(self):
        self.store.purge()
        self.model.jobs = {
            job_id: job
            for job_id, job in self.model.jobs.items()
            if job.expires is None or job.expires > self.model.now
        }

    @invariant()
    def agrees(self):
        assert self.store.queue_length() == len(self.model.active("queued"))
        for job_id, expected in self.model.jobs.items():
            if not self.model.visible(job_id, expected.owner):
                with pytest.raises(JobNotFound):
                    self.store.get(job_id, expected.owner)
                continue
            job = self.store.get(job_id, expected.owner)
            assert (job.state, job.request, job.progress, job.attempts, job.expires) == (
                expected.state, expected.request, expected.progress, expected.attempts, expected.expires
            )  # fmt: skip
            if expected.outcome == "worker_lost":
                assert job.error["kind"] == "worker_lost"
            elif expected.outcome:
                assert {
                    name: getattr(job, name) for name in ("result", "error") if getattr(job, name)
                } == expected.outcome
            else:
                assert job.result is None and job.error is None

    @invariant()
    def media_are_of_active_jobs_only(self):
        active = set(self.model.active("queued", "running"))
        if self.location is None:
            assert {path.name for path in (self.store._path.parent / "spool").iterdir()} == active
        else:
            keys = {key.decode() for key in self.store._client.keys("*media:*")}
            assert {key.rpartition(":")[2] for key in keys} <= active  # Redis has no empty lists


SETTINGS = settings(
    max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_store_does_what_the_model_does(kind, request):
    class Machine(StoreMachine):
        location = None if kind == "sqlite" else request.getfixturevalue("redis_server").url

    run_state_machine_as_test(Machine, settings=SETTINGS)
