//! Names that callers give again and again, shared between records.

use std::sync::Arc;

/// Names a worker remembers; few, as they are looked for one after the other.
const NAMES_MAX: usize = 16;
/// Longer names are not remembered.
const NAME_BYTES_MAX: usize = 256;

/// The names that came last.
#[derive(Default)]
pub(crate) struct Names {
    known: Vec<Arc<str>>,
    oldest: usize,
}

impl Names {
    pub(crate) fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.known.iter().find(|known| ***known == *text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = Arc::from(text);
        if text.len() > NAME_BYTES_MAX {
            return new;
        }
        if self.known.len() < NAMES_MAX {
            self.known.push(Arc::clone(&new));
        } else if let Some(oldest) = self.known.get_mut(self.oldest) {
            *oldest = Arc::clone(&new);
            self.oldest = (self.oldest + 1) % NAMES_MAX;
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shared_while_they_are_few_and_short() {
        let mut names = Names::default();
        let first = names.share("gpt-4o");
        assert!(Arc::ptr_eq(&first, &names.share("gpt-4o")));
        for number in 0..NAMES_MAX {
            names.share(&format!("model-{number}"));
        }
        assert!(!Arc::ptr_eq(&first, &names.share("gpt-4o")), "it made room");
        assert_eq!(names.known.len(), NAMES_MAX);
        let long = "m".repeat(NAME_BYTES_MAX + 1);
        assert!(!Arc::ptr_eq(&names.share(&long), &names.share(&long)));
    }
}
