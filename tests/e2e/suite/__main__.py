"""Runs the suite: `python3 suite [PATTERN…]`, each pattern a part of a test's name."""

import os
import signal
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if not sys.argv[1:]:
        os.environ["E2E_WHOLE"] = "1"
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{pattern}*" for pattern in sys.argv[1:]] or None
    tests = loader.discover(HERE)
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(tests)
    failed = {getattr(test, "test_case", test) for test, _ in result.failures + result.errors}
    # A class or a module that could not begin counts as one failure, and none of its tests was run.
    begun = sum(isinstance(test, unittest.TestCase) for test in failed)
    passed = result.testsRun - len(result.skipped) - begun
    print(f"e2e: {passed} passed, {len(failed)} failed, {len(result.skipped)} skipped")
    sys.exit(bool(failed) or passed == 0)
