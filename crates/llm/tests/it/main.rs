//! The crate through its public door.

#[cfg(test)]
mod asks;
#[cfg(test)]
mod body;
#[cfg(test)]
mod catalog;
#[cfg(test)]
mod count;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod gemini;
#[cfg(test)]
mod gemini_asks;
#[cfg(test)]
mod last_word;
#[cfg(test)]
mod models;
#[cfg(test)]
mod opening;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod stream;
#[cfg(test)]
mod surface;
#[cfg(test)]
mod usage;
