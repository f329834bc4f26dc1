//! The codec through its public door: every rule as a table, the framing vectors, and laws.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod chunks;
#[cfg(test)]
mod connection;
#[cfg(test)]
mod field_lines;
#[cfg(test)]
mod framing;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod names;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod request_lines;
#[cfg(test)]
mod sizes;
#[cfg(test)]
mod targets;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod writing;
