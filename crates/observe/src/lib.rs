//! Logs with redaction, metrics, health.
