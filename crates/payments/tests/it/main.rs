//! The crate through its public door: vectors of other implementations, hostile input, the laws of
//! payments.

#[cfg(test)]
mod challenges;
#[cfg(test)]
mod facilitators;
#[cfg(test)]
mod mutated;
#[cfg(test)]
mod payments;
#[cfg(test)]
mod play;
#[cfg(test)]
mod prices;
#[cfg(test)]
mod proofs;
#[cfg(test)]
mod vectors;
