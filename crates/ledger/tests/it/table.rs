//! Price tables: what is refused, and which of their models is meant.
