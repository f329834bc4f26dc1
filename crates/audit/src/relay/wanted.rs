//! Which records go to a further place.

use crate::{Action, EventType};
use serde_json::{Map, Value};

/// Which records are given: all, or those of some actions and kinds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Wanted {
    /// Words of actions, in which `*` stands for any text.
    globs: Vec<String>,
    kinds: Vec<EventType>,
    /// Nothing but what cliproxyapi++ has a word for.
    only_kinds: bool,
}

/// Nothing is called so.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{0}` is no action, no kind of events and fits none: want words such as `token.*`, \
     `money.settle`, `auth_failure` or `*`"
)]
pub struct NoSuchEvent(pub String);

impl Wanted {
    /// What these words say; everything, if there are none. In words of cliproxyapi++, what has no
    /// word of its own there is only given where `*` or its action is named.
    ///
    /// # Errors
    /// A word that fits nothing.
    pub fn of(words: &[String], in_cliproxy: bool) -> Result<Self, NoSuchEvent> {
        let mut wanted = Self {
            only_kinds: in_cliproxy && words.is_empty(),
            ..Self::default()
        };
        for word in words {
            let mut kinds = EventType::ALL.into_iter();
            if let Some(kind) = kinds.find(|kind| kind.as_str() == word) {
                wanted.kinds.push(kind);
            } else if Action::ALL.iter().any(|action| fits(word, action.as_str())) {
                wanted.globs.push(word.clone());
            } else {
                return Err(NoSuchEvent(word.clone()));
            }
        }
        Ok(wanted)
    }

    /// Whether a record is given.
    pub(super) fn has(&self, record: &Map<String, Value>) -> bool {
        let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
        let (action, kind) = (text("action"), || {
            EventType::of_words(text("action"), text("result"))
        });
        if self.only_kinds {
            return kind().is_some();
        }
        if self.globs.is_empty() && self.kinds.is_empty() {
            return true;
        }
        self.globs.iter().any(|glob| fits(glob, action))
            || (!self.kinds.is_empty() && kind().is_some_and(|kind| self.kinds.contains(&kind)))
    }
}

/// Whether a text is what a glob says.
fn fits(glob: &str, text: &str) -> bool {
    let Some((first, others)) = glob.split_once('*') else {
        return glob == text;
    };
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some((middle, last)) = others.rsplit_once('*') else {
        return rest.ends_with(others);
    };
    for part in middle.split('*') {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            // An empty part is everywhere.
            None if part.is_empty() => {}
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wants(words: &[&str], in_cliproxy: bool, action: &str, result: &str) -> bool {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        let record = json!({"action": action, "result": result});
        let wanted = Wanted::of(&words, in_cliproxy).unwrap();
        wanted.has(record.as_object().unwrap())
    }

    // AUD-4 AUD-20
    #[test]
    fn a_further_place_chooses_freely_by_action_or_kind() {
        for (words, in_cliproxy, action, result, want) in [
            (&[][..], false, "audit.open", "success", true),
            (&["*"], false, "audit.open", "success", true),
            (&["token.*"], false, "token.create", "success", true),
            (&["token.*"], false, "project.create", "success", false),
            (&["*.create"], false, "project.create", "success", true),
            (&["*.create"], false, "project.read", "success", false),
            (&["t*n.cr*te"], false, "token.create", "success", true),
            (&["money.settle"], false, "money.settle", "success", true),
            (&["money.settle"], false, "money.release", "success", false),
            (&["auth_failure"], false, "token.access", "failure", true),
            (&["auth_failure"], false, "token.access", "success", false),
            (&[], true, "audit.open", "success", false),
            (&[], true, "token.access", "success", true),
            (&["*"], true, "audit.open", "success", true),
        ] {
            let got = wants(words, in_cliproxy, action, result);
            assert_eq!(got, want, "{words:?} {in_cliproxy} {action} {result}");
        }
        for word in ["", "tokens.*", "auth_failed", "token.create "] {
            let refused = Wanted::of(&[word.to_owned()], false);
            assert_eq!(refused, Err(NoSuchEvent(word.to_owned())));
        }
    }
}
