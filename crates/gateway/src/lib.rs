//! The data plane: one request from admission to record.
