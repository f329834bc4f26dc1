//! Single values of a body that was read strictly before, wherever they stand.

use super::{Broken, Cursor, unescaped};
use std::borrow::Cow;

/// Deepest value that is looked at; what is deeper is refused.
pub(crate) const DEPTH_MAX: usize = 128;

/// A value, or an element of a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value<'a> {
    /// A string, unescaped.
    Text(Cow<'a, str>),
    /// A number as it is written.
    Number(&'a str),
    /// `true`, `false` or `null`.
    Word(&'a str),
    /// An object.
    Object,
    /// A list without elements.
    Nothing,
}

/// The key of a member, unescaped.
pub(crate) fn key_text(key: &[u8]) -> Result<Cow<'_, str>, Broken> {
    std::str::from_utf8(key).map(unescaped).map_err(|_| Broken)
}

/// Takes a value and tells it, or if it is a list its elements, and theirs.
pub(crate) fn each<'a>(
    cursor: &mut Cursor<'a>,
    depth: usize,
    told: &mut dyn FnMut(Value<'a>),
) -> Result<(), Broken> {
    if depth > DEPTH_MAX {
        return Err(Broken);
    }
    let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).map_err(|_| Broken);
    match cursor.first() {
        Some(b'"') => told(Value::Text(cursor.string()?)),
        Some(b'{') => {
            cursor.skip()?;
            told(Value::Object);
        }
        Some(b'[') => {
            let mut is_empty = true;
            cursor.items(|cursor| {
                is_empty = false;
                each(cursor, depth.saturating_add(1), told)
            })?;
            if is_empty {
                told(Value::Nothing);
            }
        }
        Some(b'-' | b'0'..=b'9') => told(Value::Number(text(cursor.number()?)?)),
        _ => told(Value::Word(text(cursor.literal()?)?)),
    }
    Ok(())
}

/// Goes from a value to the one that these segments of a pointer lead to, and takes it; what is
/// there is told. Whatever else there is is stepped over.
pub(crate) fn follow<'a>(
    cursor: &mut Cursor<'a>,
    segments: &[String],
    told: &mut dyn FnMut(Value<'a>),
) -> Result<(), Broken> {
    let Some((segment, rest)) = segments.split_first() else {
        return each(cursor, 0, told);
    };
    match cursor.first() {
        Some(b'{') => cursor.members(|key, cursor| {
            if key_text(key)? == segment.as_str() {
                follow(cursor, rest, told)
            } else {
                cursor.skip()
            }
        }),
        Some(b'[') => {
            let wanted = index(segment);
            let mut at = 0_usize;
            cursor.items(|cursor| {
                let here = wanted == Some(at);
                at = at.saturating_add(1);
                if here {
                    follow(cursor, rest, told)
                } else {
                    cursor.skip()
                }
            })
        }
        _ => cursor.skip(),
    }
}

/// An index of a pointer: digits without a zero before them.
fn index(segment: &str) -> Option<usize> {
    let is_plain = segment == "0" || !segment.starts_with('0');
    let is_digits = segment.bytes().all(|byte| byte.is_ascii_digit());
    segment.parse().ok().filter(|_| is_plain && is_digits)
}
