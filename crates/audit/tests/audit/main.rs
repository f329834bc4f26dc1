//! The audit log through its public door: golden lines, the chain, hostile text, broken disks.

#[cfg(test)]
mod database;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod formats;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod lab;
#[cfg(test)]
mod reopen;
#[cfg(test)]
mod signed;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tamper;
#[cfg(test)]
mod verifier;
