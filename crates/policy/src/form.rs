//! Bodies of forms and their media types, read as strictly as JSON: what another reader could take
//! for something else is refused, so that what was checked is what the upstream sees.

use memchr::memmem;

/// Fields of a form, and parts of one.
const FIELDS_MAX: usize = 1_000;
/// Bytes of the head of a part.
const PART_HEAD_BYTES_MAX: usize = 4_096;

/// What a body is, by its media type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BodyKind {
    /// `application/json`, or anything `+json`.
    Json,
    /// `application/x-www-form-urlencoded`.
    Urlencoded,
    /// `multipart/form-data` with this boundary.
    Multipart(String),
}

/// A form that can be read in more than one way, or not at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the form is malformed: {0}")]
pub struct FormFault(pub &'static str);

/// A field of a form.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FormField {
    /// Its name, decoded.
    pub name: String,
    /// Its value, decoded; `None` for a file.
    pub value: Option<String>,
}

impl BodyKind {
    /// What a `Content-Type` says; nothing for what is none of these, or in another charset than
    /// UTF-8.
    pub fn of(content_type: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(content_type).ok()?;
        let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
        let essence = essence.trim().to_ascii_lowercase();
        let parameters = parameters_of(parameters)?;
        let mut charset = parameters.iter().filter(|(name, _)| name == "charset");
        if !charset.all(|(_, value)| matches!(value.as_str(), "utf-8" | "utf8" | "us-ascii")) {
            return None;
        }
        match essence.as_str() {
            "application/json" => Some(Self::Json),
            "application/x-www-form-urlencoded" => Some(Self::Urlencoded),
            "multipart/form-data" => {
                let mut found = parameters
                    .into_iter()
                    .filter(|(name, _)| name == "boundary");
                let (_, boundary) = found.next()?;
                is_boundary(&boundary).then_some(Self::Multipart(boundary))
            }
            other => {
                let (family, kind) = other.split_once('/')?;
                let is_json = !family.is_empty() && kind.len() > "+json".len();
                (is_json && kind.ends_with("+json")).then_some(Self::Json)
            }
        }
    }
}

fn is_boundary(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte);
    (1..=70).contains(&text.len()) && text.bytes().all(fits)
}

/// The parameters of a media type or disposition: names in lower case, none twice. The values of
/// all but `boundary`, `name` and `filename` are in lower case too.
fn parameters_of(text: &str) -> Option<Vec<(String, String)>> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim().to_ascii_lowercase();
        let is_token = |text: &str| {
            let fits =
                |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            !text.is_empty() && text.bytes().all(fits)
        };
        // An extended name (`name*`) is another name to some readers only.
        if !is_token(&name) || name.ends_with('*') || found.iter().any(|(own, _)| *own == name) {
            return None;
        }
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => {
                let (value, after) = quoted.split_once('"')?;
                // A quoted pair is read in more than one way.
                if value.contains('\\') {
                    return None;
                }
                (value, after.trim_start())
            }
            None => {
                let (value, after) = match after.split_once(';') {
                    Some((value, _)) => (value.trim(), after.get(value.len()..)?),
                    None => (after.trim(), ""),
                };
                let fits = is_token(value) || (name == "boundary" && is_boundary(value));
                if !fits {
                    return None;
                }
                (value, after)
            }
        };
        let value = match name.as_str() {
            "boundary" | "name" | "filename" => value.to_owned(),
            _ => value.to_ascii_lowercase(),
        };
        found.push((name, value));
        rest = match after.strip_prefix(';') {
            Some(after) => after.trim(),
            None if after.is_empty() => "",
            None => return None,
        };
    }
    Some(found)
}

/// Text of a form or query: `+` is a space, `%XX` a byte. Nothing for a bad `%`, or what is not
/// UTF-8 then.
pub(crate) fn decoded(raw: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high << 4 | low).ok()?
            }
            other => *other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The fields of an urlencoded form.
///
/// # Errors
/// What is not encoded as it must be, or too many fields.
pub fn urlencoded(body: &[u8]) -> Result<Vec<FormField>, FormFault> {
    // Some readers take `;` for a separator, and end at NUL.
    let is_odd = |byte: &u8| !byte.is_ascii_graphic() || *byte == b';';
    if body.iter().any(is_odd) {
        return Err(FormFault("a byte that must be encoded"));
    }
    let mut fields = Vec::new();
    for pair in body
        .split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
    {
        if fields.len() == FIELDS_MAX {
            return Err(FormFault("too many fields"));
        }
        let (name, value) = match memchr::memchr(b'=', pair) {
            Some(at) => (pair.get(..at), pair.get(at.saturating_add(1)..)),
            None => (Some(pair), Some(&b""[..])),
        };
        let text = |raw: Option<&[u8]>| {
            decoded(raw.unwrap_or_default()).filter(|text| !text.contains('\0'))
        };
        let (Some(name), Some(value)) = (text(name), text(value)) else {
            return Err(FormFault("text that is not UTF-8"));
        };
        fields.push(FormField {
            name,
            value: Some(value),
        });
    }
    Ok(fields)
}

/// The fields of a multipart form. It begins with its first part and ends with the last boundary.
///
/// # Errors
/// A preamble, an epilogue, parts with other fields than a disposition and a type, names that are
/// read in more than one way, too many parts.
pub fn multipart(body: &[u8], boundary: &str) -> Result<Vec<FormField>, FormFault> {
    let mark = format!("--{boundary}");
    let between = format!("\r\n{mark}");
    let find = memmem::Finder::new(between.as_bytes());
    let mut rest = body
        .strip_prefix(mark.as_bytes())
        .ok_or(FormFault("it does not begin with its boundary"))?;
    let mut fields = Vec::new();
    loop {
        if let Some(end) = rest.strip_prefix(b"--") {
            return match end {
                b"" | b"\r\n" => Ok(fields),
                _ => Err(FormFault("something follows its end")),
            };
        }
        if fields.len() == FIELDS_MAX {
            return Err(FormFault("too many parts"));
        }
        let part = rest
            .strip_prefix(b"\r\n")
            .ok_or(FormFault("a boundary is not alone on its line"))?;
        let head_len = memmem::find(part, b"\r\n\r\n").filter(|len| *len <= PART_HEAD_BYTES_MAX);
        let head_len = head_len.ok_or(FormFault("the head of a part does not end"))?;
        let head = part.get(..head_len).unwrap_or_default();
        let after = part.get(head_len.saturating_add(4)..).unwrap_or_default();
        // An empty part may end right at its head's last line end.
        let from = part.get(head_len.saturating_add(2)..).unwrap_or_default();
        let end = find.find(from).ok_or(FormFault("it does not end"))?;
        let content_len = end
            .checked_sub(2)
            .ok_or(FormFault("the head of a part does not end"))?;
        let content = after.get(..content_len).unwrap_or_default();
        let (name, is_file) = disposition(head)?;
        let value = match is_file {
            true => None,
            false => Some(
                std::str::from_utf8(content)
                    .map_err(|_| FormFault("text that is not UTF-8"))?
                    .to_owned(),
            ),
        };
        fields.push(FormField { name, value });
        rest = after
            .get(content_len.saturating_add(between.len())..)
            .unwrap_or_default();
    }
}

/// The name that the head of a part gives it, and whether it is a file.
fn disposition(head: &[u8]) -> Result<(String, bool), FormFault> {
    let head = std::str::from_utf8(head).map_err(|_| FormFault("text that is not UTF-8"))?;
    let (mut found, mut has_type) = (None, false);
    for line in head.split("\r\n") {
        let (name, value) = line
            .split_once(':')
            .ok_or(FormFault("a line of a part's head has no name"))?;
        if value.contains(|letter: char| letter.is_control() && letter != '\t') {
            return Err(FormFault("a control character in a part's head"));
        }
        match name.to_ascii_lowercase().as_str() {
            "content-disposition" if found.is_none() => found = Some(value.trim()),
            "content-type" if !has_type => {
                has_type = true;
                let lower = value.to_ascii_lowercase();
                if lower.contains("charset") && !lower.contains("utf-8") {
                    return Err(FormFault("a part in another charset than UTF-8"));
                }
            }
            _ => {
                return Err(FormFault(
                    "a part has a field twice, or one of another name",
                ));
            }
        }
    }
    let odd = FormFault("a part's disposition is none of a form");
    let (kind, parameters) = found.ok_or(odd)?.split_once(';').ok_or(odd)?;
    let mut parameters = parameters_of(parameters).ok_or(odd)?;
    let is_known = |(name, _): &(String, String)| matches!(name.as_str(), "name" | "filename");
    if !kind.trim().eq_ignore_ascii_case("form-data") || !parameters.iter().all(is_known) {
        return Err(odd);
    }
    let is_file = parameters.iter().any(|(name, _)| name == "filename");
    let at = parameters
        .iter()
        .position(|(name, _)| name == "name")
        .ok_or(odd)?;
    let (_, name) = parameters.swap_remove(at);
    // Browsers write `%22` for a quote, and others don't read it so.
    if name.contains('%') {
        return Err(odd);
    }
    Ok((name, is_file))
}
