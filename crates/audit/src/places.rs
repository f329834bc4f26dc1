//! Where the parts of a record were written, so that they can be put into another order.

use std::ops::Range;

/// Where a written member is.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// In the buffer of members whose canonical form differs.
    pub(crate) apart: bool,
}

impl Place {
    pub(crate) const fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// The places of what was written, each under a number below 32.
pub(crate) struct Places<const N: usize> {
    all: [Place; N],
    /// A bit for each that was written for this record.
    written: u32,
}

impl<const N: usize> Places<N> {
    pub(crate) const fn new() -> Self {
        let nowhere = Place {
            start: 0,
            end: 0,
            apart: false,
        };
        Self {
            all: [nowhere; N],
            written: 0,
        }
    }

    pub(crate) fn set(&mut self, number: usize, place: Place) {
        if let Some(slot) = self.all.get_mut(number) {
            *slot = place;
            self.written |= 1 << number;
        }
    }

    pub(crate) fn get(&self, number: usize) -> Option<Place> {
        let place = self.all.get(number)?;
        (self.written >> number & 1 == 1).then_some(*place)
    }

    pub(crate) const fn clear(&mut self) {
        self.written = 0;
    }

    /// What was written, in the order of the numbers.
    pub(crate) fn written(&self) -> impl Iterator<Item = Place> {
        let mut left = self.written;
        std::iter::from_fn(move || {
            let place = self.all.get(left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(*place)
        })
    }
}
