//! Requests for images and for speech.

use super::{Form, Known, Reader};
use crate::json::{Broken, Cursor};
use tollkeep_types::demand::ImagesWanted;

impl Reader<'_> {
    pub(super) fn images(&mut self, body: &mut Cursor<'_>) -> Result<(), Broken> {
        let mut wanted = ImagesWanted::default();
        self.message();
        self.body(body, |reader, key, value| {
            match key {
                b"n" => return reader.choices("n", value),
                b"quality" => wanted.quality = chosen(value)?,
                b"size" => wanted.size = chosen(value)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        self.demand.images_wanted = Some(wanted);
        Ok(())
    }

    pub(super) fn speech(&mut self, body: &mut Cursor<'_>) -> Result<(), Broken> {
        let mut chars = None;
        self.body(body, |_, key, value| {
            if key != b"input" {
                return Ok(false);
            }
            chars = Some(super::count(value.string()?.chars().count()));
            Ok(true)
        })?;
        self.demand.chars_in = Some(chars.unwrap_or_default());
        Ok(())
    }
}

/// How many characters of a request are to be spoken.
pub(crate) fn chars_in(body: &[u8]) -> u64 {
    let demand = super::read(Form::Speech, body, &Known::default());
    demand.chars_in.unwrap_or_default()
}

/// Which sort of images a request asks for, if it says anything about that.
pub(crate) fn image_sort(body: &[u8]) -> Option<Box<str>> {
    let demand = super::read(Form::Images, body, &Known::default());
    let wanted = demand.images_wanted?;
    // What is left to the upstream is not said.
    let said = |word: &'_ Option<Box<str>>| word.clone().filter(|word| **word != *"auto");
    let (quality, size) = (said(&wanted.quality), said(&wanted.size));
    if quality.is_none() && size.is_none() {
        return None;
    }
    let quality = quality.as_deref().unwrap_or("standard");
    let size = size.as_deref().unwrap_or("1024x1024");
    Some(format!("{quality}:{size}").into())
}

fn chosen(value: &mut Cursor<'_>) -> Result<Option<Box<str>>, Broken> {
    Ok(Some(value.string()?.into()))
}
