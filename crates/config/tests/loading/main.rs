//! Configurations through the front door: a file, an environment and flags in; settings or every
//! fault out.

mod acme;
mod audit;
#[cfg(test)]
mod budgets;
mod cache;
#[cfg(test)]
mod client_certificates;
#[cfg(test)]
mod cors;
mod credit;
#[cfg(test)]
mod describing;
#[cfg(test)]
mod facilitator;
mod faults;
#[cfg(test)]
mod free_routes;
#[cfg(test)]
mod headers;
#[cfg(test)]
mod hooks;
mod hostile;
#[cfg(test)]
mod import;
#[cfg(test)]
mod interpolation;
#[cfg(test)]
mod ip_lists;
#[cfg(test)]
mod listen;
mod openapi;
#[cfg(test)]
mod policy;
mod precedence;
#[cfg(test)]
mod production;
#[cfg(test)]
mod sections;
#[cfg(test)]
mod seeds;
#[cfg(test)]
mod showing;
mod signing;
#[cfg(test)]
mod support;
#[cfg(test)]
mod switches;
mod token_prices;
