"""Catalogues over HTTP, small enough to be drawn in tests."""

from lora_scripts_ext.jobs.execution import Execution
from lora_scripts_ext.jobs.perform import perform
from lora_scripts_ext.owner import Owner

ROWS = [
    {"sku": "A-1", "title": "Red shoe", "category": "Shoes", "color": "red", "tags": "summer"},
    {"sku": "红/2", "title": "蓝色背包", "category": "Bags", "color": "蓝色"},
    {"sku": "C-3", "title": "Teapot", "category": "Kitchen"},
]
RULES = {"rules": [{"name": "worn", "when": {"category": ["Shoes", "Bags"]}, "loras": []}]}
SMALL = {"width": 32, "height": 32, "steps": 1, "candidates": 2, "channels": ["social-square"]}


def performed(service, lane="here cpu"):
    """Run the first job that may run, to its end."""
    claim = service.queue.claim(lane, Owner.current())
    folder = service.database.folder
    with Execution(service.queue, claim, folder) as execution:
        perform(service.queue, execution, service.environment)
    return service.queue.get(claim.job.id)


def made(client, **more):
    answer = client.post("catalogues", {"name": "summer", "products": ROWS, "rules": RULES, **SMALL, **more})
    assert answer.status == 201, answer.body
    return answer.json["id"]


def said(answer, status, *words):
    assert answer.status == status, answer.body
    for word in words:
        assert word in answer.json["detail"], answer.body
    return answer.json
