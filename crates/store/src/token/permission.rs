//! What the holder of a token may do besides calling.

use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// A permission, from a closed list.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Permission {
    /// Read its own use and budgets.
    #[serde(rename = "usage.read")]
    UsageRead,
    /// Be told how its calls were routed.
    #[serde(rename = "debug.routing")]
    DebugRouting,
    /// Choose where its calls go.
    #[serde(rename = "routing.pick")]
    RoutingPick,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::UsageRead, Self::DebugRouting, Self::RoutingPick];

    /// The word for it in the database and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UsageRead => "usage.read",
            Self::DebugRouting => "debug.routing",
            Self::RoutingPick => "routing.pick",
        }
    }
}

impl FromStr for Permission {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        let found = Self::ALL.into_iter().find(|own| own.as_str() == word);
        found.ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_has_one_word() {
        for permission in Permission::ALL {
            assert_eq!(permission.as_str().parse(), Ok(permission));
            let word = serde_json::to_string(&permission).unwrap();
            assert_eq!(word, format!("\"{}\"", permission.as_str()));
        }
        assert_eq!("usage.write".parse::<Permission>(), Err(()));
    }
}
