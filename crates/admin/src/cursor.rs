//! Cursors of lists: where the last page ended, signed and bound to the list's filters.

use crate::problem::Problem;
use std::fmt::Display;
use std::str::FromStr;
use tollkeep_crypto::hmac_sha256;
use tollkeep_store::After;
use tollkeep_types::WallMillis;

const TAG_BYTES: usize = 16;

/// Writes a cursor for the list that `filters` names.
pub(crate) fn write<Id: Display>(key: &[u8; 32], filters: &str, after: &After<Id>) -> String {
    let place = format!("{}.{}", after.created_at.0, after.id);
    format!("{place}.{}", tag(key, filters, &place))
}

/// Reads a cursor that was made for the same list.
///
/// # Errors
/// Any other text.
pub(crate) fn read<Id: FromStr>(
    key: &[u8; 32],
    filters: &str,
    cursor: &str,
) -> Result<After<Id>, Problem> {
    let (place, given) = cursor.rsplit_once('.').ok_or_else(Problem::bad_cursor)?;
    if tag(key, filters, place) != given {
        return Err(Problem::bad_cursor());
    }
    let (time, id) = place.split_once('.').ok_or_else(Problem::bad_cursor)?;
    let time = time.parse().map_err(|_| Problem::bad_cursor())?;
    Ok(After {
        created_at: WallMillis(time),
        id: id.parse().map_err(|_| Problem::bad_cursor())?,
    })
}

fn tag(key: &[u8; 32], filters: &str, place: &str) -> String {
    let mac = hmac_sha256(key, format!("cursor\n{filters}\n{place}").as_bytes());
    mac.iter()
        .take(TAG_BYTES)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollkeep_types::TokenId;

    // ID-103
    #[test]
    fn a_cursor_works_for_its_own_list_and_unchanged() {
        let key = [7; 32];
        let after = After {
            created_at: WallMillis(5),
            id: TokenId::from_bytes([1; 16]),
        };
        let cursor = write(&key, "project=a", &after);
        assert_eq!(read(&key, "project=a", &cursor).unwrap(), after);
        for (name, filters, cursor) in [
            ("another filter", "project=b", cursor.clone()),
            ("changed", "project=a", cursor.replacen('5', "6", 1)),
            ("made up", "project=a", "5.tid_x.y".to_owned()),
            ("empty", "project=a", String::new()),
        ] {
            assert!(read::<TokenId>(&key, filters, &cursor).is_err(), "{name}");
        }
    }
}
