//! The emulated vendors through their door: steering, wire shapes, the server.

#[cfg(test)]
mod door;
#[cfg(test)]
mod gemini;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod server;
#[cfg(test)]
mod steering;
#[cfg(test)]
mod tools;
