"""Runs the official Python clients against a running gateway.

The environment variable TOLLKEEP_DEMO holds the line of `tollkeep demo --json`. With `--direct` the
target is the sandbox upstream itself and only `data_url` is read.
"""

import sys

import harness
import openai_cases  # noqa: F401  (registers its cases)
import anthropic_cases  # noqa: F401  (registers its cases)
import gemini_cases  # noqa: F401  (registers its cases)

sys.exit(harness.run())
