//! Counts by address, for the busiest ones, in bounded memory.

use std::collections::HashMap;
use std::net::IpAddr;

/// Addresses counted at a time.
const COUNTED_MAX: usize = 10_000;
/// Addresses shown.
const SHOWN_MAX: usize = 100;

/// Addresses and how often they were counted. With the table full the less busy half is forgotten,
/// so that a flood of addresses hides nobody who comes again and again.
#[derive(Debug, Default)]
pub(super) struct Busiest(HashMap<IpAddr, u64>);

impl Busiest {
    pub(super) fn add(&mut self, address: IpAddr) {
        if self.0.len() >= COUNTED_MAX && !self.0.contains_key(&address) {
            self.forget_half();
        }
        let count = self.0.entry(address).or_default();
        *count = count.saturating_add(1);
    }

    /// The busiest, most first.
    pub(super) fn shown(&self) -> Vec<(IpAddr, u64)> {
        let mut counts: Vec<_> = self.0.iter().map(|(ip, count)| (*ip, *count)).collect();
        counts.sort_unstable_by_key(|(ip, count)| (std::cmp::Reverse(*count), *ip));
        counts.truncate(SHOWN_MAX);
        counts
    }

    fn forget_half(&mut self) {
        let mut counts: Vec<_> = self.0.iter().map(|(ip, count)| (*count, *ip)).collect();
        counts.sort_unstable();
        for (_, address) in counts.iter().take(COUNTED_MAX / 2) {
            self.0.remove(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn ip(number: u32) -> IpAddr {
        Ipv4Addr::from(number).into()
    }

    // EDGE-92
    #[test]
    fn a_flood_of_addresses_hides_no_busy_one_and_takes_bounded_memory() {
        let mut busiest = Busiest::default();
        for number in 0..100_000 {
            busiest.add(ip(number));
            if number % 100 == 0 {
                busiest.add(ip(u32::MAX));
            }
        }
        assert!(busiest.0.len() <= COUNTED_MAX);
        let shown = busiest.shown();
        assert_eq!(shown.len(), SHOWN_MAX);
        assert_eq!(shown.first(), Some(&(ip(u32::MAX), 1_000)));
    }
}
