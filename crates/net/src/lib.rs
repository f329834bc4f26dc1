//! Sockets: listeners, connections, the one egress door, upstream pool, deadlines, drain.
