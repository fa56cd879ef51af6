//! End-to-end tests against real servers live in `tests/e2e`.
