//! Dialects: request views, strict JSON, SSE and usage readers, error bodies, catalogue. No I/O, no clock.
