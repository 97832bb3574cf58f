"""The fixture that fails a test on a logged failure can itself fail: each way in which one gets logged is caught."""

from pathlib import Path

import pytest

CONFTEST = (Path(__file__).parents[1] / "conftest.py").read_text()

PRELUDE = """
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python import log as old_log
from twisted.python.failure import Failure
log = Logger()
"""


def run(pytester: pytest.Pytester, body: str) -> pytest.RunResult:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(PRELUDE + body)
    # A process of its own: Twisted's logging begins once in a process.
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:twisted", "-q")


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("fail(ValueError('lost'))", "*ValueError: lost*"),
        ("log.failure('it broke', Failure(KeyError('k')))", "*it broke*"),
        ("old_log.err(ValueError('old'), 'why')", "*ValueError: old*"),
        ("log.critical('the disk is gone')", "*the disk is gone*"),
        # Two Deferreds in a circle: only the collector finds them.
        ("a = Deferred(); a.me = a; a.errback(ValueError('in a circle'))", "*ValueError: in a circle*"),
        # As it happens in a callback chain.
        ("d = Deferred(); d.addCallback(lambda r: 1 // 0); d.callback(1); del d", "*ZeroDivisionError*"),
    ],
)
def test_what_is_logged_as_a_failure_fails_its_test(pytester: pytest.Pytester, fault: str, seen: str) -> None:
    result = run(pytester, f"def test_it():\n    {fault}\n")
    assert result.ret != 0
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines([seen])


def test_only_the_test_that_logged_it_fails(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        "def test_a():\n    pass\n"
        "def test_b():\n    log.critical('b')\n"
        "def test_c():\n    log.error('an error without a failure is told to a person, not a fault of ours')\n",
    )
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["ERROR *::test_b*"])


def test_what_is_flushed_is_expected(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        "def test_it(flush_logged_errors):\n"
        "    fail(ValueError('expected'))\n"
        "    [failure] = flush_logged_errors(ValueError)\n"
        "    assert failure.getErrorMessage() == 'expected'\n",
    )
    assert result.ret == 0
    result.assert_outcomes(passed=1)


def test_flushing_one_type_leaves_the_others(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        "def test_it(flush_logged_errors):\n"
        "    fail(ValueError('expected'))\n"
        "    fail(KeyError('not expected'))\n"
        "    assert len(flush_logged_errors(ValueError)) == 1\n",
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*not expected*"])


def test_a_warning_is_an_error(request: pytest.FixtureRequest) -> None:
    assert "error" in request.config.getini("filterwarnings")
