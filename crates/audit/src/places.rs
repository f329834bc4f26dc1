//! Where the parts of a record were written, so that they can be put into another order.

/// Where a written part is.
#[derive(Clone, Copy, Default)]
pub(crate) struct Place {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// In the buffer of parts whose canonical form differs.
    pub(crate) apart: bool,
}

impl Place {
    /// In the line.
    pub(crate) const fn between(start: usize, end: usize) -> Self {
        let apart = false;
        Self { start, end, apart }
    }
}

/// The places of what was written, each under a number below [`Self::MAX`].
pub(crate) struct Places {
    all: [Place; Self::MAX],
    /// A bit for each that was written for this record.
    written: u128,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            all: [Place::default(); Self::MAX],
            written: 0,
        }
    }
}

impl Places {
    /// As many as there are bits.
    pub(crate) const MAX: usize = 128;

    pub(crate) fn set(&mut self, number: usize, place: Place) {
        if let Some(slot) = self.all.get_mut(number) {
            *slot = place;
            self.written |= 1 << number;
        }
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
