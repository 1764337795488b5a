"""Routes of jobs: queue them, look at them, order, stop and retry them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from .. import json_text, time_text
from ..errors import UserError
from ..jobs import of_model, submit
from ..jobs.view import job_view
from ..library.job import Job, NewJob
from ..library.models import Models
from . import schemas
from .errors import Problem, problem
from .files import with_addresses
from .idempotency import Answer
from .route import json_body, json_response
from .schemas import JobChangeIn, JobIn, JobsIn, MoveIn, RetryIn
from .service import Service

_TAGS = ["jobs"]
_STATES = Query([], description="Only these states; may be repeated.")


def add(router: APIRouter, service: Service) -> None:
    """Add the routes."""
    _add_collection(router, service)
    _add_one(router, service)
    _add_actions(router, service)


def _add_collection(router: APIRouter, service: Service) -> None:
    queue = service.queue

    @router.post("/jobs", status_code=201, tags=_TAGS, response_model=schemas.WholeJob, summary="Queue a job")
    def add_job(job: JobIn) -> Response:
        """Give `Idempotency-Key`, and a request that is sent again queues nothing twice."""
        return _queued(service, router.prefix, [job], alone=True)

    @router.post("/jobs/batch", status_code=201, tags=_TAGS, response_model=schemas.WholeJobs, summary="Queue jobs")
    def add_jobs(batch: JobsIn) -> Response:
        """All of them or, where one cannot be used, none."""
        return _queued(service, router.prefix, batch.jobs, alone=False)

    @router.get("/jobs", tags=_TAGS, response_model=schemas.JobPage, summary="List jobs")
    def list_jobs(
        state: list[schemas.JobState] = _STATES,
        kind: str = Query("", max_length=40),
        model: str = Query("", max_length=64, description="Only jobs for this model."),
        limit: int = Query(100, ge=1, le=service.limits.page),
        cursor: str = Query("", max_length=40, description="`next` of the page before."),
    ) -> Response:
        def page() -> bytes:
            # One reading, so that the list and what each job waits for are of one moment.
            with service.database.reading():
                found = queue.page(states=state, kind=kind, model=model, limit=limit, cursor=cursor)
                items = [job_view(queue, job) for job in found.jobs]
            return json_text.dumps({"items": items, "next": found.next}).encode()

        return json_body(service.remembered.get(("jobs", tuple(state), kind, model, limit, cursor), page))


def _add_one(router: APIRouter, service: Service) -> None:
    queue = service.queue

    @router.get("/jobs/{id}", tags=_TAGS, response_model=schemas.WholeJob, summary="Look at a job")
    def get_job(id: str) -> Response:
        def job() -> bytes:
            with service.database.reading():
                return json_text.dumps(_whole(service, queue.get(id))).encode()

        return json_body(service.remembered.get(("job", id), job))

    @router.patch("/jobs/{id}", tags=_TAGS, response_model=schemas.WholeJob, summary="Change a queued job")
    def change_job(id: str, change: JobChangeIn) -> dict[str, Any]:
        fields = schemas.given(change)
        if "not_before" in fields:
            fields["not_before"] = _seconds(fields["not_before"])
        for name, empty in (("priority", 0), ("window", "")):
            if name in fields and fields[name] is None:
                fields[name] = empty
        changed = queue.update(id, **fields)
        service.wake()
        return _whole(service, changed)

    @router.delete("/jobs/{id}", status_code=204, tags=_TAGS, summary="Forget a job that has ended")
    def remove_job(id: str) -> Response:
        """Its files stay."""
        queue.remove(id)
        return Response(status_code=204)

    @router.get("/jobs/{id}/report", tags=_TAGS, response_model=schemas.Report, summary="How a job is going")
    def get_report(id: str) -> dict[str, Any]:
        """Figures, loss curve, previews, checkpoints, warnings."""
        return with_addresses(service.reports.get(queue.get(id).id), queue.get(id), router.prefix)


def _add_actions(router: APIRouter, service: Service) -> None:
    queue, models = service.queue, Models(service.database)

    @router.post("/jobs/{id}/stop", tags=_TAGS, response_model=schemas.WholeJob, summary="Let a job save and stop")
    def stop_job(id: str) -> dict[str, Any]:
        return _woken(service, queue.stop(id))

    @router.post("/jobs/{id}/cancel", tags=_TAGS, response_model=schemas.WholeJob, summary="End a job for good")
    def cancel_job(id: str) -> dict[str, Any]:
        return _woken(service, queue.cancel(id))

    @router.post("/jobs/{id}/retry", tags=_TAGS, response_model=schemas.WholeJob, summary="Queue an ended job again")
    def retry_job(id: str, how: RetryIn = RetryIn()) -> dict[str, Any]:  # noqa: B008 - it is not changed
        """A training continues from its last state; one whose settings have changed too much for that says so."""
        config = of_model.corrected(service.environment, models, queue.get(id)) if how.draft else how.config
        return _woken(service, submit.retry(queue, service.environment, id, config))

    @router.post("/jobs/{id}/move", tags=_TAGS, response_model=schemas.WholeJob, summary="Change the order")
    def move_job(id: str, where: MoveIn) -> dict[str, Any]:
        """It takes the priority of its new neighbour."""
        return _woken(service, queue.move(id, where.before))


def _queued(service: Service, prefix: str, jobs: list[JobIn], *, alone: bool) -> Response:
    """Queue jobs, and keep the answer in the same transaction: a request that is sent again must find it there."""
    if len(jobs) > service.limits.batch:
        text = f"jobs: there are {len(jobs)}; send at most {service.limits.batch} at once."
        raise Problem("too_large", text, field="jobs")
    taken = service.queue.output_folders()
    planned = [_planned(service, job, taken, "" if alone else f"jobs.{number}.") for number, job in enumerate(jobs)]
    with service.database.writing():
        added = service.queue.add(planned)
        views = [_whole(service, job) for job in added]
        location = f"{prefix}/jobs/{added[0].id}" if alone else ""
        service.requests.keep(Answer(201, json_text.dumps(views[0] if alone else {"items": views}), location))
    service.wake()
    headers = {"Location": location} if alone else {}
    return json_response(views[0] if alone else {"items": views}, 201, headers)


def _planned(service: Service, job: JobIn, taken: set[str], where: str) -> NewJob:
    """A job that can be queued; ``where`` stands before the fields in errors."""
    try:
        submission = NewJob(
            job.kind, job.config, name=job.name.strip(), runner=service.environment.runner, model=job.model,
            after=job.after, priority=job.priority, not_before=_seconds(job.not_before), window=job.window,
        )  # fmt: skip
        return submit.planned(submission, service.environment, taken)
    except UserError as error:
        if not where:
            raise
        found = problem(error, service.database.folder)
        field = f"{where}{found.field or ''}".rstrip(".")
        raise Problem(found.code, found.detail, field=field, remedy=found.remedy) from error


def _seconds(text: str | None) -> float | None:
    return None if text is None else time_text.seconds(text, "not_before")


def _woken(service: Service, job: Job) -> dict[str, Any]:
    service.wake()
    return _whole(service, job)


def _whole(service: Service, job: Job) -> dict[str, Any]:
    return job_view(service.queue, job, whole=True)
