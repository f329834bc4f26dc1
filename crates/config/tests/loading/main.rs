//! Configurations through the front door: a file, an environment and flags in; settings or every
//! fault out.

mod describing;
mod faults;
mod hostile;
mod interpolation;
mod precedence;
mod production;
mod sections;
mod seeds;
mod showing;
mod support;
