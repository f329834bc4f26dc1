//! The answer of a model, streamed and whole, as far as its usage is read.

use crate::cuts::pieces;
use tollkeep_llm::surface::UsageDialect;
use tollkeep_llm::usage::{Asked, BodyEnd, BodyUsage, StreamReport, StreamUsage};

const DIALECTS: [UsageDialect; 9] = [
    UsageDialect::Chat,
    UsageDialect::Responses,
    UsageDialect::Embeddings,
    UsageDialect::Anthropic,
    UsageDialect::Images,
    UsageDialect::Transcription,
    UsageDialect::Speech,
    UsageDialect::Realtime,
    UsageDialect::Gemini,
];

/// The bytes are an answer's body.
///
/// Law: what a stream told does not depend on how its bytes were cut.
pub fn usage(data: &[u8]) {
    for dialect in DIALECTS {
        for hour_cache in [false, true] {
            let asked = Asked {
                hour_cache,
                ..Asked::default()
            };
            for status in [200, 429] {
                let read = BodyUsage::read(dialect, &asked, status, data);
                assert!(
                    read.model
                        .is_none_or(|model| !model.is_empty() && model.len() <= 256)
                );
            }
            for end in [BodyEnd::Clean, BodyEnd::Broken] {
                let read = |parts: &[&[u8]]| stream(dialect, asked.clone(), end, parts);
                let whole = read(&[data]);
                assert_eq!(whole, read(&pieces(data)), "{dialect:?} cut into pieces");
                if data.len() <= 512 {
                    let bytes: Vec<&[u8]> = data.chunks(1).collect();
                    assert_eq!(whole, read(&bytes), "{dialect:?} byte by byte");
                }
            }
        }
    }
}

/// What a stream told, and how many events it had.
fn stream(
    dialect: UsageDialect,
    asked: Asked,
    end: BodyEnd,
    parts: &[&[u8]],
) -> (StreamReport, [u64; 4]) {
    let mut reader = StreamUsage::new(dialect, asked);
    for part in parts {
        reader.feed(part);
    }
    let flags = [
        reader.saw_content(),
        reader.saw_terminal(),
        reader.failed_before_content(),
    ]
    .map(u64::from);
    let [content, terminal, failed] = flags;
    let events = reader.events();
    (reader.finish(end), [events, content, terminal, failed])
}
