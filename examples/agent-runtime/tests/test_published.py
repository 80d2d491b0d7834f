"""The runtime reads what the operator writes: its grants, its schema, and its meaning of patterns."""

import json
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest
from agent_runtime_support import DEFINITION, checksum
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from agent_operator.grants import build
from agent_operator.policy import Subject, ToolKey, ToolRequest, evaluate, parse
from agent_operator.policy.patterns import matches
from agent_runtime import definition as definitions
from agent_runtime import grants
from agent_runtime.credentials import private_parts_removed
from agent_runtime.model import completions_url
from agent_runtime.standing import Standing
from agent_runtime.tools import RefusedError, ToolCall, resolve

ROOT = Path(__file__).parents[3]
POLICY = parse((ROOT / "examples" / "20-agent-policy.yaml").read_text())
SCHEMA = json.loads((ROOT / "docs" / "reference" / "grants.schema.json").read_text())


def written() -> str:
    tools = (ToolKey("domain", "shop", "orders"), ToolKey("domain", "shop", "billing"))
    tools += (ToolKey("primitive", "", "code-runner"),)
    requests = tuple(ToolRequest(tool, (), f"spec.tools.allowed[{index}]") for index, tool in enumerate(tools))
    subject = Subject(
        "shop", "clerk", "acme", "high", "openai", "gpt-5", sku="business", max_parallel_sessions=5, tools=requests
    )
    found = {tools[0]: {"http": "http://orders-domain.shop.svc:8080"}}
    return build(subject, evaluate(POLICY, subject), found).text


def test_grants_are_read_as_the_operator_writes_them() -> None:
    text = written()
    assert Draft202012Validator(SCHEMA).is_valid(json.loads(text))
    read = grants.parse(text)
    assert (read.namespace, read.name, read.tenant, read.risk_tier) == ("shop", "clerk", "acme", "high")
    assert read.model == grants.ModelGrant("openai", "gpt-5", "https://api.openai.com/v1", ("openai",))
    orders = read.tools[grants.ToolKey("domain", "shop", "orders")]
    assert orders.permits("GetOrder")
    assert not orders.permits("RefundOrder")
    assert read.pending == {grants.ToolKey("domain", "shop", "billing")}
    assert read.credentials["code-runner"] == (grants.Value("token", "", "CODE_RUNNER_TOKEN"),)
    assert read.credentials["openai"][0].file == "/etc/ameide/credentials/openai/api-key"


def test_the_grants_of_a_refused_agent_are_read() -> None:
    subject = Subject("shop", "clerk", "acme", "high", "openai", "unheard-of")
    read = grants.parse(build(subject, evaluate(POLICY, subject), {}).text)
    assert (read.model, dict(read.tools)) == (None, {})


def paths(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(each for key, below in inner for each in paths(below, (*path, key)))]


@pytest.mark.parametrize("path", paths(json.loads(written())))
def test_grants_with_any_part_of_the_wrong_kind_are_refused(path: tuple[object, ...]) -> None:
    document = {"whole": json.loads(written())}
    target = document
    for key in ("whole", *path)[:-1]:
        target = target[key]  # type: ignore[index] # any path of the document
    target[("whole", *path)[-1]] = 7  # type: ignore[index]
    with pytest.raises(grants.GrantsError):
        grants.parse(json.dumps(document["whole"]))


@given(st.text("aB*?.", max_size=6), st.text("aB.", max_size=6))
def test_patterns_mean_what_they_mean_to_the_operator(pattern: str, operation: str) -> None:
    tool = grants.ToolGrant(grants.ToolKey("domain", "a", "b"), {}, (pattern,), (), ())
    assert tool.permits(operation) == matches(pattern, operation)
    denied = grants.ToolGrant(tool.key, {}, ("*",), (pattern,), ())
    assert denied.permits(operation) != matches(pattern, operation)


HTTP = {
    "ListOrders": {"method": "GET", "path": "/orders"},
    "GetOrder": {"method": "GET", "path": "/orders/{id}"},
    "ExportOrders": {"method": "GET", "path": "/orders/export"},
    "DeleteOrder": {"method": "DELETE", "path": "/orders/{id}"},
}
SEGMENTS = st.sampled_from(
    ["orders", "export", "7", "..", ".", "", "%2e%2e", "%2F", "..%2f", "a b", "ä", "?x=1", "#", "\\"]
)
ARGUMENTS = st.dictionaries(st.sampled_from(["id", "x"]), st.one_of(st.text(max_size=6), SEGMENTS, st.integers()))


def standing(allow: tuple[str, ...], deny: tuple[str, ...]) -> Standing:
    key = grants.ToolKey("domain", "shop", "orders")
    tool = grants.ToolGrant(key, {"http": "http://orders:8080/base"}, allow, deny, ())
    text = json.dumps({"tools": [{"domain": "orders", "http": HTTP}]})
    granted = grants.Grants("shop", "clerk", "acme", "low", None, {key: tool}, frozenset(), {})
    return Standing(definitions.parse(text), granted, ())


PATTERNS = st.lists(st.sampled_from(["*", "Get*", "List*", "Export*", "DeleteOrder", "Delete*"]), max_size=3).map(tuple)
CALLS = st.one_of(
    st.builds(
        lambda operation, arguments: ToolCall("1", "domain/orders", operation, "", "", arguments),
        st.sampled_from([*HTTP, "Other"]),
        ARGUMENTS,
    ),
    st.builds(
        lambda method, segments, arguments: ToolCall(
            "1", "domain/orders", "", method, "/" + "/".join(segments), arguments
        ),
        st.sampled_from(["GET", "DELETE", "POST", "TRACE", "get"]),
        st.lists(SEGMENTS, max_size=3),
        ARGUMENTS,
    ),
)


@given(CALLS, PATTERNS, PATTERNS)
def test_no_request_does_what_is_not_granted(call: ToolCall, allow: tuple[str, ...], deny: tuple[str, ...]) -> None:
    try:
        request = resolve(call, standing(allow, deny))
    except RefusedError:
        return
    url = httpx.URL(request.url)
    assert (url.host, url.port, url.query, url.fragment) == ("orders", 8080, b"", "")
    # What is sent is judged as a server would see it, not as it was asked for.
    base, *rest = [unquote(part) for part in url.raw_path.decode().removeprefix("/").split("/")]
    assert base == "base"
    assert not {"", ".", ".."} & set(rest)
    done = {
        ("GET", "orders"): ["ListOrders"],
        ("GET", "orders", "export"): ["GetOrder", "ExportOrders"],
    }.get((request.method, *rest), [])
    if not done and len(rest) == 2 and rest[0] == "orders":
        done = [{"GET": "GetOrder", "DELETE": "DeleteOrder"}.get(request.method, "")]
    assert all(request.grant.permits(operation) for operation in done if operation)
    if not any(done):
        assert request.grant.whole


def test_the_checksum_is_that_of_the_canonical_document() -> None:
    assert definitions.parse(json.dumps(DEFINITION, indent=2)).checksum == checksum(DEFINITION)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"instructions": 1}, "instructions must be a text"),
        ({"tools": {}}, "tools must be a list"),
        ({"tools": [{}]}, "tools[0] must name exactly one of"),
        ({"tools": [{"domain": "a", "agent": "b"}]}, "tools[0] must name exactly one of"),
        ({"tools": [{"domain": "a", "operations": "Get"}]}, "tools[0].operations must be a list"),
        ({"tools": [{"domain": "a", "http": []}]}, "tools[0].http must be an object"),
        ({"tools": [{"domain": "a", "http": {"G et": {}}}]}, "letters, digits"),
        ({"tools": [{"domain": "a", "http": {"Get": {"method": "get", "path": "/"}}}]}, "http.Get.method must be"),
        ({"tools": [{"domain": "a", "http": {"Get": {"method": "GET", "path": "a"}}}]}, "http.Get.path is 'a'"),
        ({"tools": [{"domain": "a", "http": {"Get": {"method": "GET", "path": "/a/../b"}}}]}, "must be a path as in"),
        ({"tools": [{"domain": "a", "http": {"Get": {"method": "GET", "path": "/a{b}"}}}]}, "being a whole segment"),
        ({"tools": [{"domain": "a", "http": {"Get": {"method": "GET", "path": "/a?b=c"}}}]}, "must be a path as in"),
    ],
)
def test_definitions_that_cannot_be_run_name_the_field(change: dict[str, object], told: str) -> None:
    with pytest.raises(definitions.DefinitionError) as error:
        definitions.parse(json.dumps(DEFINITION | change))
    assert told in str(error.value)


def test_an_operation_fits_its_own_requests_only() -> None:
    [binding] = [
        each for each in definitions.parse(json.dumps(DEFINITION)).tools[0].bindings if each.operation == "GetOrder"
    ]
    assert binding.path == "/orders/{id}"
    assert binding.matched("GET", ("orders", "7")) == {"id": "7"}
    assert binding.matched("POST", ("orders", "7")) is None
    assert binding.matched("GET", ("orders",)) is None
    assert binding.matched("GET", ("invoices", "7")) is None


@pytest.mark.parametrize(
    "path", ["", "orders", "//x", "/a//b", "/a/./b", "/a/%2e%2e/b", "/a/%2Fb", "/a%5cb", "/%0a", "/%ff"]
)
def test_paths_that_servers_could_take_for_others_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        definitions.segments_of(path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("domain/orders", "domain/shop/orders"),
        ("agent/other/clerk", "agent/other/clerk"),
        ("primitive/runner", "primitive/runner"),
        ("primitive/a/b", None),
        ("domain/a/b/c", None),
        ("domain/", None),
        ("shell/x", None),
        ("", None),
    ],
)
def test_names_of_tools(text: str, found: str | None) -> None:
    key = grants.tool_key(text, "shop")
    assert (None if key is None else str(key)) == found


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("http://echo:8080", "http://echo:8080/v1/chat/completions"),
        ("http://echo:8080/", "http://echo:8080/v1/chat/completions"),
        ("https://api.openai.com/v1", "https://api.openai.com/v1/chat/completions"),
        ("https://gateway/openai/v1/", "https://gateway/openai/v1/chat/completions"),
    ],
)
def test_where_completions_are(base: str, url: str) -> None:
    assert completions_url(base) == url


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("write to ada.l@mail.example.org, please", "write to <email>, please"),
        ("call +49 (30) 123-456 78 today", "call <number> today"),
        ("DE89 3704 0044 0532 0130 00 is mine", "<number> is mine"),
        ("password: hunter2, ok", "password: <secret>, ok"),
        ('{"api_key": "abc def"}', '{"api_key": <secret>}'),
        ("my password is hunter2", "my password is <secret>"),
        ("Authorization: Bearer abcdefgh1234", "Authorization: Bearer <token>"),
        ("sk-abcdefghijklmnop12345678 it is", "<token> it is"),
        ("order 12345 of 3 books", "order 12345 of 3 books"),
    ],
)
def test_private_parts_of_prompts(text: str, clean: str) -> None:
    assert private_parts_removed(text) == clean
