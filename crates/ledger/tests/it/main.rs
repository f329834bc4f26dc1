//! The crate through its public door, with the readers of answers and requests before it.

#[cfg(test)]
mod bound_vectors;
#[cfg(test)]
mod cost_vectors;
#[cfg(test)]
mod ends;
#[cfg(test)]
mod made;
#[cfg(test)]
mod purity;
#[cfg(test)]
mod sound;
#[cfg(test)]
mod table;
#[cfg(test)]
mod vectors;
