"""Which requests and websockets do not count."""

import pytest

from buttermilkd.web.exclusion import Counted, Exclude, Exclusion, Paths, Patterns

Request = dict[str, str]


def exclusion(
    exclude: Exclude[Request] = (),
    methods: Patterns = (),
    user_agents: Patterns = (),
    headers: Patterns = (),
) -> Exclusion[Request]:
    return Exclusion(exclude, methods, user_agents, headers, header=lambda request, name: request.get(name))


@pytest.mark.parametrize(
    ("patterns", "path", "matches"),
    [
        (["/healthz"], "/healthz", True),
        (["/healthz"], "/healthz/", False),
        (["/healthz"], "/health", False),
        ("/healthz", "/healthz", True),
        ("/healthz", "/", False),
        (["/static/*"], "/static/a/b.css", True),
        (["/static/*"], "/static", False),
        (["*"], "", True),
        (["/a*b"], "/a*b", True),
        ([], "/", False),
    ],
)
def test_a_path_is_named_in_full_or_by_its_beginning(patterns: Patterns, path: str, matches: bool) -> None:
    assert Paths(patterns).match(path) is matches
    assert exclusion(patterns).covers({}, path, "GET") is matches


def test_nothing_is_excluded_where_nothing_is_said() -> None:
    assert not exclusion()
    assert not exclusion().covers({"user-agent": "curl"}, "/", "GET")
    for one in (exclusion("/"), exclusion(lambda _: False), exclusion(methods="HEAD")):
        assert one


def test_a_predicate_decides_over_the_request_itself() -> None:
    one = exclusion(lambda request: request.get("remote") == "10.0.0.1")
    assert one.covers({"remote": "10.0.0.1"}, "/", "GET")
    assert not one.covers({"remote": "10.0.0.2"}, "/", "GET")


def test_a_predicate_that_raises_excludes_nothing_and_breaks_nothing() -> None:
    one = exclusion(lambda request: request["missing"])
    assert not one.covers({}, "/", "GET")


def test_methods_user_agents_and_headers_exclude_as_well() -> None:
    one = exclusion((), ["options"], ["kube-probe", "ELB-"], ["X-Probe", "purpose: prefetch"])
    assert one.covers({}, "/", "OPTIONS")
    assert one.covers({"user-agent": "Kube-Probe/1.30"}, "/", "GET")
    assert one.covers({"user-agent": "elb-healthchecker"}, "/", "GET")
    assert one.covers({"x-probe": ""}, "/", "GET")
    assert one.covers({"purpose": "prefetch"}, "/", "GET")
    assert not one.covers({"purpose": "people", "user-agent": "Mozilla"}, "/", "GET")
    assert not one.covers({}, "/", "")


def test_websockets_count_all_or_none_or_as_the_first_pattern_says() -> None:
    assert Counted(True).includes("/chat")
    assert not Counted(False).includes("/chat")
    some = Counted({"/dash/mine": True, "/dash/*": False})
    assert [some.includes(path) for path in ("/dash/mine", "/dash/all", "/chat")] == [True, False, True]


def test_a_predicate_that_would_answer_too_late_is_refused() -> None:
    async def excluded(_request: Request) -> bool:
        return True

    class Excluded:
        async def __call__(self, _request: Request) -> bool:
            return True

    for predicate in (excluded, Excluded()):
        with pytest.raises(TypeError, match="cannot be an async function"):
            exclusion(predicate)


async def _later() -> bool:
    return True


def test_an_answer_that_is_to_be_awaited_excludes_nothing() -> None:
    answers = [_later()]
    assert not exclusion(lambda _: answers[0]).covers({}, "/", "GET")
    answers[0].close()
