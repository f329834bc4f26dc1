//! The built-in emulator upstream: deterministic OpenAI and Anthropic answers for first runs and tests.
