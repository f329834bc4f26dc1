//! Requests as a strict origin reads them (RFC 9112): what is not exactly so is a fault.

/// A request that reached an origin.
#[derive(Clone, Debug)]
pub struct Request {
    /// The connection it came on, from 0.
    pub connection: usize,
    /// Its method.
    pub method: String,
    /// Its target, byte for byte.
    pub target: String,
    /// Its fields in order, names as sent.
    pub fields: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Request {
    /// The one value of a field; names in any case.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self
            .fields
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// It is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

/// What reading the start of a connection's unread bytes gave.
pub(crate) enum Read {
    /// One request and how many bytes it took.
    Whole(Request, usize),
    /// The bytes end within a request.
    More,
}

/// Which bodies an origin takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Bodies {
    /// Those of a length: the gateway knows that of every body it keeps.
    OfLength,
    /// Those in chunks too: of bodies that are sent on while they arrive.
    InChunks,
}

/// Reads one request.
///
/// # Errors
/// What is not strict about it.
pub(crate) fn read(bytes: &[u8], connection: usize, bodies: Bodies) -> Result<Read, String> {
    let Some(head_len) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() > 256 * 1024 {
            Err("a head without end".to_owned())
        } else {
            Ok(Read::More)
        };
    };
    let head = bytes[..head_len]
        .iter()
        .map(|byte| char::from(*byte))
        .collect::<String>();
    if head
        .bytes()
        .zip(head.bytes().skip(1))
        .any(|(a, b)| (a == b'\r') != (b == b'\n'))
    {
        return Err(format!("a line that does not end with CRLF: {head:?}"));
    }
    let mut lines = head.split("\r\n");
    let (method, target) = start_line(lines.next().unwrap_or_default())?;
    let fields = lines.map(field_line).collect::<Result<Vec<_>, _>>()?;
    let values = |name: &str| {
        fields
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .collect::<Vec<_>>()
    };
    if values("host").len() != 1 {
        return Err(format!("not exactly one Host: {head:?}"));
    }
    let rest = &bytes[head_len + 4..];
    let coding = values("transfer-encoding");
    let body = match (coding.as_slice(), values("content-length").as_slice()) {
        ([], []) => Some((Vec::new(), 0)),
        ([], [(_, value)]) => {
            let len = decimal(value)?;
            rest.get(..len).map(|body| (body.to_vec(), len))
        }
        ([(_, coding)], []) if bodies == Bodies::InChunks && coding == "chunked" => chunks(rest)?,
        ([], _) => return Err("two lengths".to_owned()),
        _ => return Err("a Transfer-Encoding, though the gateway knows every length".to_owned()),
    };
    let Some((body, body_len)) = body else {
        return Ok(Read::More);
    };
    let request = Request {
        connection,
        method,
        target,
        fields,
        body,
    };
    Ok(Read::Whole(request, head_len + 4 + body_len))
}

/// A body in chunks without extensions and trailers, and how many bytes it took; nothing while it
/// is not whole.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let rest = &bytes[at..];
        let Some(line) = rest.windows(2).position(|window| window == b"\r\n") else {
            return Ok(None);
        };
        let size = std::str::from_utf8(&rest[..line]).unwrap_or_default();
        let plain = size.len() <= 8
            && size.bytes().all(|byte| byte.is_ascii_hexdigit())
            && (size == "0" || !size.starts_with('0'));
        let size = usize::from_str_radix(size, 16).ok().filter(|_| plain);
        let size = size.ok_or("not the size of a chunk")?;
        let from = at + line + 2;
        let Some(data) = bytes.get(from..from + size + 2) else {
            return Ok(None);
        };
        if !data.ends_with(b"\r\n") {
            return Err("a chunk that is not as long as it says".to_owned());
        }
        at = from + size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
        body.extend_from_slice(&data[..size]);
    }
}

fn start_line(line: &str) -> Result<(String, String), String> {
    let wrong = || format!("not a request line: {line:?}");
    let [method, target, version] = line.split(' ').collect::<Vec<_>>()[..] else {
        return Err(wrong());
    };
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].contains(&method);
    let plain = target.starts_with('/')
        && target
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if known && plain && version == "HTTP/1.1" {
        Ok((method.to_owned(), target.to_owned()))
    } else {
        Err(wrong())
    }
}

fn field_line(line: &str) -> Result<(String, String), String> {
    let wrong = || format!("not a field line: {line:?}");
    let (name, value) = line.split_once(':').ok_or_else(wrong)?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(wrong());
    }
    let value = value.trim_matches([' ', '\t']);
    if value.chars().any(|c| c != '\t' && (c.is_ascii_control())) {
        return Err(wrong());
    }
    Ok((name.to_owned(), value.to_owned()))
}

pub(crate) fn decimal(text: &str) -> Result<usize, String> {
    let digits =
        !text.is_empty() && text.len() <= 15 && text.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = text.len() > 1 && text.starts_with('0');
    let number = text.parse().ok().filter(|_| digits && !leading_zero);
    number.ok_or_else(|| format!("not a length: {text:?}"))
}
