//! Buffers of one worker, taken when a connection has something to say and given back after.

use std::cell::RefCell;

/// Capacity of a fresh buffer: a head and a small body, read with one system call.
const FRESH_BYTES: usize = 16 * 1024;
/// A buffer that grew past this is freed rather than kept.
const KEPT_BYTES_MAX: usize = 64 * 1024;
/// Idle buffers a worker keeps.
const KEPT_MAX: usize = 512;

/// A worker's idle buffers.
#[derive(Default)]
pub struct Buffers {
    idle: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    /// An empty buffer with room for a head and a small body.
    pub fn take(&self) -> Vec<u8> {
        self.idle
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(FRESH_BYTES))
    }

    /// Takes a buffer back. Large ones are freed, so one large body doesn't stay forever.
    pub fn give_back(&self, mut buffer: Vec<u8>) {
        if !(FRESH_BYTES..=KEPT_BYTES_MAX).contains(&buffer.capacity()) {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() < KEPT_MAX {
            buffer.clear();
            idle.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_and_a_large_one_is_not_kept() {
        let buffers = Buffers::default();
        let mut small = buffers.take();
        small.extend_from_slice(b"GET /");
        let at = small.as_ptr();
        buffers.give_back(small);
        buffers.give_back(Vec::with_capacity(KEPT_BYTES_MAX * 2));
        let again = buffers.take();
        assert_eq!((again.as_ptr(), again.len()), (at, 0));
        assert_eq!(buffers.idle.borrow().len(), 0);
    }
}
