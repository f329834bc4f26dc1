//! Decisions without I/O or clock: egress, header hygiene, rate, client address, permission.
