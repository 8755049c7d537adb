"""The server does what its /openapi.json describes, for generated requests."""

import contextlib
import json
import re

import msgspec
import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from infer_requests import request
from jsonschema import Draft202012Validator
from repository import ROOT
from schemathesis import GenerationMode, openapi
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks
from served import running

from sacpipe.robot.policy import OnnxPolicy
from sacpipe.server import protocol
from sacpipe.server.http_errors import RefusalError
from sacpipe.server.openapi import openapi as openapi_document
from sacpipe.server.service import Service

slow = pytest.mark.slow

CHECKS = [
    not_a_server_error,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.status_code_conformance,
    checks.unsupported_method,
]


@pytest.fixture(scope="module", params=["numbers", "image"])
def operations(request, bundles):
    bundle = bundles[0] if request.param == "numbers" else ROOT / "tests" / "bundle" / "bundle_v3"
    with running("-m", "sacpipe.server", bundle, "--port", "0") as server:
        document = openapi.from_url(f"http://{server.address}/openapi.json")
        yield [found.ok() for found in document.get_all_operations()]


def try_out(operation, mode, examples):
    """Send cases of one operation; its pytest plugin does not know this pytest."""
    statuses = set()
    with requests.Session() as session:

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode))
        def send(case):
            statuses.add(case.call_and_validate(session=session, checks=CHECKS).status_code)

        send()
    return statuses


def test_the_document_has_the_structs_that_decode_and_encode(bundles):
    active = Service(OnnxPolicy(bundles[0])).active
    schemas = openapi_document(active)["components"]["schemas"]
    body = schemas["RequestBody"]["properties"]
    assert protocol._REQUESTS.type is protocol.RequestBody
    assert list(body) == [field.name for field in msgspec.structs.fields(protocol.RequestBody)]
    assert body["id"]["anyOf"][0]["maxLength"] == 128
    assert openapi_document(active) is openapi_document(active)
    for reference in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(openapi_document(active))):
        assert reference in schemas


@pytest.mark.parametrize("key", [-1, 0, 2**64 - 1, 2**64, "arm", "x" * 129])
def test_the_page_allows_the_sequences_that_the_server_takes(bundles, key):
    active = Service(OnnxPolicy(bundles[0])).active
    schema = openapi_document(active)["components"]["schemas"]["RequestParameters"]
    is_allowed = Draft202012Validator(schema).is_valid({"sequence_id": key})
    body = json.dumps(request(sequence_id=key)).encode()
    with contextlib.nullcontext() if is_allowed else pytest.raises(RefusalError):
        protocol.parse_infer(body, None, active.inputs)
    assert is_allowed == (key in (0, 2**64 - 1, "arm"))


@slow
def test_every_operation_keeps_to_the_page(operations):
    assert len(operations) == 14
    for operation in operations:
        statuses = try_out(operation, GenerationMode.POSITIVE, 40 if operation.method == "post" else 5)
        assert statuses <= {200, 400, 404}, operation.label


@slow
def test_what_is_not_on_the_page_is_refused(operations):
    for operation in operations:
        if operation.method == "post":
            assert try_out(operation, GenerationMode.NEGATIVE, 60) <= {400, 404, 405, 200}
