//! One audit event model, its encoders and masks, and the chained, append-only file.
