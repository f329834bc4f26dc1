//! Single parameters of a body, for whoever may limit their values.

pub use crate::json::values::Value;

use crate::json::values::{follow, key_text};
use crate::json::{Broken, Cursor};

/// The body is not what it was when it was read strictly, or nests too deep.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unreadable;

impl From<Broken> for Unreadable {
    fn from(_: Broken) -> Self {
        Self
    }
}

/// Tells what stands at each of these places, by the segments of JSON pointers, in one pass over a
/// body that [`crate::body::CallView::read`] has read. A list is told element by element.
///
/// # Errors
/// See [`Unreadable`].
pub fn at<'a>(
    body: &'a [u8],
    places: &[&[String]],
    told: &mut dyn FnMut(usize, Value<'a>),
) -> Result<(), Unreadable> {
    let mut sorted: Vec<(&str, &[String], usize)> = Vec::with_capacity(places.len());
    for (number, place) in places.iter().enumerate() {
        let (first, rest) = place.split_first().ok_or(Unreadable)?;
        sorted.push((first, rest, number));
    }
    sorted.sort_unstable();
    Cursor::new(body).members(|key, cursor| {
        let key = key_text(key)?;
        let from = sorted.partition_point(|(first, ..)| *first < &*key);
        let same = sorted.iter().skip(from);
        for (_, rest, number) in same.take_while(|(first, ..)| *first == key) {
            follow(&mut cursor.clone(), rest, &mut |value| told(*number, value))?;
        }
        cursor.skip()?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(body: &str, pointer: &str) -> String {
        let segments: Vec<String> = pointer.split('/').map(str::to_owned).collect();
        let mut values = Vec::new();
        let mut note = |_, value: Value<'_>| {
            values.push(match value {
                Value::Text(text) => format!("{text:?}"),
                Value::Number(text) | Value::Word(text) => text.to_owned(),
                Value::Object => "{}".to_owned(),
                Value::Nothing => "[]".to_owned(),
            });
        };
        crate::body::CallView::read(body.as_bytes(), 128).unwrap();
        at(body.as_bytes(), &[&segments], &mut note).unwrap();
        values.join(" ")
    }

    // ID-91
    #[test]
    fn what_stands_at_a_pointer_is_told_element_by_element() {
        let body = r#" { "model" : "gpt-4o" , "stop": ["a", ["b", 1.50], {"c": 2}, []], "n":1e2,
            "a": {"b": [ {"c": true}, {"c": null} ], "b/c": "x"}, "\u006dode": "y", "e": {} } "#;
        for (pointer, want) in [
            ("model", "\"gpt-4o\""),
            ("stop", "\"a\" \"b\" 1.50 {} []"),
            ("n", "1e2"),
            ("a", "{}"),
            ("a/b/0/c", "true"),
            ("a/b/1/c", "null"),
            ("a/b/01/c", ""),
            ("a/b/2/c", ""),
            ("a/b/-/c", ""),
            ("a/x", ""),
            ("model/x", ""),
            ("mode", "\"y\""),
            ("e", "{}"),
            ("stop/1", "\"b\" 1.50"),
        ] {
            assert_eq!(told(body, pointer), want, "{pointer}");
        }
    }

    // ID-91
    #[test]
    fn deep_lists_are_refused_rather_than_followed_for_ever() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        let place = ["a".to_owned()];
        assert_eq!(
            at(deep.as_bytes(), &[&place], &mut |_, _| {}),
            Err(Unreadable)
        );
    }

    proptest::proptest! {
        #[test]
        fn several_places_are_found_as_one_alone(keys in proptest::collection::vec("[ab]{1,2}", 1..6)) {
            let mut body = std::collections::BTreeMap::new();
            for (number, key) in keys.iter().enumerate() {
                body.insert(key.clone(), number);
            }
            let text = serde_json::to_string(&body).unwrap();
            let places: Vec<Vec<String>> = ["a", "b", "ab", "ba"].map(|key| vec![key.to_owned()]).into();
            let places: Vec<&[String]> = places.iter().map(Vec::as_slice).collect();
            let mut found = vec![None; places.len()];
            at(text.as_bytes(), &places, &mut |place, value| {
                let Value::Number(number) = value else { panic!("{value:?}") };
                found[place] = number.parse().ok();
            })
            .unwrap();
            for (place, found) in places.iter().zip(found) {
                proptest::prop_assert_eq!(found, body.get(&place[0]).copied());
            }
        }
    }
}
