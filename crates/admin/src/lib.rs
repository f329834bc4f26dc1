//! The management API: a file per noun.
