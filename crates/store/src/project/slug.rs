//! Short names of projects and tenants.

use crate::StoreError;
use crate::query::{Connection, query};
use tollkeep_types::ProjectId;

/// Longest slug, in characters.
const SLUG_CHARS_MAX: usize = 63;

const SLUG_TAKEN: &str = "SELECT count(*) FROM projects WHERE tenant_id = $1 AND slug = $2";

/// Refuses what is no slug.
pub(crate) fn check_slug(slug: &str) -> Result<(), StoreError> {
    if is_slug(slug) {
        return Ok(());
    }
    Err(StoreError::Invalid(
        "slug must be 1 to 63 of a-z, 0-9 and `-`, not starting with `-`",
    ))
}

fn is_slug(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.len() <= SLUG_CHARS_MAX
        && !text.is_empty()
        && !text.starts_with('-')
        && text.bytes().all(allowed)
}

/// A slug like the name; if that is taken or nothing is left of it, with the end of the id.
pub(super) async fn free_slug(
    connection: &mut Connection,
    tenant: &str,
    name: &str,
    id: ProjectId,
) -> Result<String, StoreError> {
    let like_name = slug_like(name);
    let taken = query(SLUG_TAKEN)
        .bind(tenant.to_owned())
        .bind(like_name.clone())
        .fetch_number(connection)
        .await?;
    if taken == 0 && is_slug(&like_name) {
        return Ok(like_name);
    }
    let id = id.to_string();
    let ending = id.get(id.len().saturating_sub(12)..).unwrap_or(&id);
    let room = SLUG_CHARS_MAX - ending.len() - 1;
    let start: String = like_name.chars().take(room).collect();
    Ok(format!("{start}-{ending}").trim_matches('-').to_owned())
}

/// The ASCII letters and digits of a name, in lower case, everything between as one `-`.
pub(crate) fn slug_like(name: &str) -> String {
    let words = name.split(|char: char| !char.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    let slug: String = words.join("-").chars().take(SLUG_CHARS_MAX).collect();
    slug.trim_end_matches('-').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    // ID-1
    #[test]
    fn slugs_have_one_form() {
        for (name, text, want) in [
            ("usual", "team-a", true),
            ("digit first", "9lives", true),
            ("longest", &"a".repeat(63), true),
            ("longer", &"a".repeat(64), false),
            ("empty", "", false),
            ("dash first", "-a", false),
            ("upper case", "Team", false),
            ("underscore, as in an id", "prj_a", false),
        ] {
            assert_eq!(is_slug(text), want, "{name}");
        }
    }

    #[test]
    fn a_slug_is_made_from_the_name() {
        for (name, want) in [
            ("Team A", "team-a"),
            ("  Søren's  Café ", "s-ren-s-caf"),
            ("日本", ""),
            (&"long ".repeat(40), &"long-".repeat(12) as &str),
        ] {
            let want = if want.len() == 60 {
                &format!("{want}lon")
            } else {
                want
            };
            assert_eq!(slug_like(name), *want, "{name}");
        }
    }
}
