//! The list of requirements.

use anyhow::Context as _;

use crate::repo::Repo;

const LIST: &str = "xtask/data/requirements.tsv";

pub(super) struct Requirement {
    pub(super) id: String,
    /// 1 is built first.
    pub(super) wave: u8,
    pub(super) chapter: String,
    pub(super) title: String,
}

/// The requirements in the order of the chapters.
pub(super) fn read(repo: &Repo) -> anyhow::Result<Vec<Requirement>> {
    let text = repo.texts.get(LIST).context(LIST)?;
    let rows = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    rows.map(|row| parse(row).with_context(|| format!("{LIST}: `{row}`")))
        .collect()
}

fn parse(row: &str) -> Option<Requirement> {
    let [id, wave, _origins, chapter, title] =
        row.split('\t').collect::<Vec<_>>().try_into().ok()?;
    Some(Requirement {
        id: is_id(id).then(|| id.to_owned())?,
        wave: wave.parse().ok()?,
        chapter: chapter.to_owned(),
        title: title.to_owned(),
    })
}

/// Whether a word has the form of a requirement's id: `EDGE-21`, `LLM-R4`, `LED-50a`.
pub(super) fn is_id(word: &str) -> bool {
    let Some((chapter, number)) = word.split_once('-') else {
        return false;
    };
    let known = matches!(
        chapter,
        "AUD" | "CON" | "EDGE" | "ID" | "LED" | "LLM" | "OPS" | "PAY"
    );
    let number = if chapter == "LLM" {
        number.strip_prefix(['D', 'R']).unwrap_or(number)
    } else {
        number
    };
    let digits = number
        .strip_suffix(|c: char| c.is_ascii_lowercase())
        .unwrap_or(number);
    known && !digits.is_empty() && digits.len() <= 3 && digits.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::is_id;

    #[test]
    fn ids_are_told_from_other_words() {
        for (word, want) in [
            ("EDGE-1", true),
            ("LLM-R11", true),
            ("LLM-D2", true),
            ("LED-50a", true),
            ("EDGE-R1", false),
            ("EDGE-", false),
            ("EDGE-12b3", false),
            ("AES-256", false),
            ("edge-1", false),
            ("EDGE", false),
        ] {
            assert_eq!(is_id(word), want, "{word}");
        }
    }
}
