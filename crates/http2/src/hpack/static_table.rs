//! The fields that every table has (RFC 7541, appendix A).

/// Names and values, from index 1.
#[rustfmt::skip]
static FIELDS: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"),
    (":path", "/index.html"), (":scheme", "http"), (":scheme", "https"), (":status", "200"),
    (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"),
    (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""),
    ("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""),
    ("authorization", ""), ("cache-control", ""), ("content-disposition", ""),
    ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""),
    ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""),
    ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""),
    ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""),
    ("vary", ""), ("via", ""), ("www-authenticate", ""),
];

/// How many there are.
pub(super) const COUNT: usize = FIELDS.len();

/// The field at an index, which is from 1.
pub(super) fn field(index: usize) -> Option<(&'static [u8], &'static [u8])> {
    let (name, value) = FIELDS.get(index.checked_sub(1)?)?;
    Some((name.as_bytes(), value.as_bytes()))
}

/// HOT. The index under which a name of an answer stands, or 0.
pub(super) fn index_of(name: &[u8]) -> u8 {
    match name {
        b"date" => 33,
        b"content-length" => 28,
        b"content-type" => 31,
        b"cache-control" => 24,
        b"vary" => 59,
        b"server" => 54,
        b"strict-transport-security" => 56,
        b"set-cookie" => 55,
        b"www-authenticate" => 61,
        b"retry-after" => 53,
        b"access-control-allow-origin" => 20,
        b"allow" => 22,
        b"accept-ranges" => 18,
        b"age" => 21,
        b"content-disposition" => 25,
        b"content-encoding" => 26,
        b"content-language" => 27,
        b"content-location" => 29,
        b"content-range" => 30,
        b"etag" => 34,
        b"expires" => 36,
        b"last-modified" => 44,
        b"link" => 45,
        b"location" => 46,
        b"via" => 60,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_answers_stand_where_their_index_says() {
        assert_eq!(COUNT, 61);
        let found = (1..=COUNT).filter(|index| {
            let name = field(*index).unwrap().0;
            let known = usize::from(index_of(name));
            assert!(known == 0 || field(known).unwrap().0 == name);
            known == *index
        });
        assert_eq!(found.count(), 25);
        assert_eq!((field(0), field(62)), (None, None));
        assert_eq!(field(61).unwrap().0, b"www-authenticate");
        assert_eq!(
            field(16).unwrap(),
            (&b"accept-encoding"[..], &b"gzip, deflate"[..])
        );
    }
}
