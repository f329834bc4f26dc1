//! Rate limit state: bounded tables of theoretical arrival times.
