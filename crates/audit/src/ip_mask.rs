//! How much of a client's address is written down.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tollkeep_crypto::hmac_sha256;
use tollkeep_observe::json;
use tollkeep_types::WallMillis;

const DAY_MS: u64 = 86_400_000;

/// How much of a client's address is written down, in every kind of record alike.
#[derive(Clone, Debug, Default)]
pub enum IpMask {
    /// All of it.
    #[default]
    Off,
    /// `a.b.c.0/24`, or the /48 of a v6 address.
    Prefix,
    /// `ip_` and 12 hex digits of a hash under this key.
    Hash([u8; 32]),
    /// The same under a key made of this one for each day, in UTC: what an address did on one day is not
    /// tied to what it did on another.
    HashDaily([u8; 32]),
    /// Nothing.
    Drop,
}

impl IpMask {
    /// Appends what may be written of `ip` at a time; says whether that is anything. A v4 address in v6
    /// form is the v4 address.
    pub fn write(&self, ip: IpAddr, at: WallMillis, out: &mut Vec<u8>) -> bool {
        let ip = ip.to_canonical();
        // Writing to memory cannot fail.
        let _always_ok = match (self, ip) {
            (Self::Off, IpAddr::V4(v4)) => {
                write_v4(v4, out);
                Ok(())
            }
            (Self::Off, IpAddr::V6(v6)) => write!(out, "{v6}"),
            (Self::Prefix, IpAddr::V4(v4)) => {
                write_v4(Ipv4Addr::from(u32::from(v4) & (!0 << 8)), out);
                out.write_all(b"/24")
            }
            (Self::Prefix, IpAddr::V6(v6)) => {
                write!(out, "{}/48", Ipv6Addr::from(u128::from(v6) & (!0 << 80)))
            }
            (Self::Hash(key), _) => write_hash(key, ip, out),
            (Self::HashDaily(key), _) => {
                let day = format!("addresses of day {}", self.day(at));
                write_hash(&hmac_sha256(key, day.as_bytes()), ip, out)
            }
            (Self::Drop, _) => return false,
        };
        true
    }

    /// The day, if what is written differs by it; else always the same.
    pub(crate) const fn day(&self, at: WallMillis) -> u64 {
        match self {
            Self::HashDaily(_) => at.0 / DAY_MS,
            Self::Off | Self::Prefix | Self::Hash(_) | Self::Drop => 0,
        }
    }

    /// What may be written of `ip` at a time.
    pub fn text(&self, ip: IpAddr, at: WallMillis) -> Option<String> {
        let mut out = Vec::new();
        if !self.write(ip, at, &mut out) {
            return None;
        }
        String::from_utf8(out).ok()
    }
}

/// What may be written of addresses, of which the same one often comes again.
pub struct IpText {
    mask: IpMask,
    /// The address, and the day where that matters.
    of: Option<(IpAddr, u64)>,
    text: Vec<u8>,
}

impl IpText {
    /// Texts under this mask.
    pub const fn new(mask: IpMask) -> Self {
        Self {
            mask,
            of: None,
            text: Vec::new(),
        }
    }

    /// HOT. What [`IpMask::write`] writes; `None` if nothing may be written.
    pub fn of(&mut self, ip: IpAddr, at: WallMillis) -> Option<&[u8]> {
        let of = Some((ip, self.mask.day(at)));
        if self.of != of {
            self.of = of;
            self.text.clear();
            self.mask.write(ip, at, &mut self.text);
        }
        Some(&*self.text).filter(|text| !text.is_empty())
    }

    /// The day of a time, if texts differ by it; else always the same.
    pub(crate) const fn day(&self, at: WallMillis) -> u64 {
        self.mask.day(at)
    }
}

fn write_hash(key: &[u8; 32], ip: IpAddr, out: &mut Vec<u8>) -> io::Result<()> {
    let hash = match ip {
        IpAddr::V4(v4) => hmac_sha256(key, &v4.octets()),
        IpAddr::V6(v6) => hmac_sha256(key, &v6.octets()),
    };
    out.write_all(b"ip_")?;
    let mut digits = hash.iter().take(6);
    digits.try_for_each(|byte| write!(out, "{byte:02x}"))
}

/// Four numbers, without the machinery of formatting.
fn write_v4(ip: Ipv4Addr, out: &mut Vec<u8>) {
    let [a, b, c, d] = ip.octets();
    json::number(out, a.into());
    for octet in [b, c, d] {
        out.push(b'.');
        json::number(out, octet.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: WallMillis = WallMillis(1_795_342_530_123);

    // AUD-34
    #[test]
    fn each_setting_shows_what_it_says() {
        for (name, mask, ip, want) in [
            ("v4", IpMask::Off, "192.0.2.77", Some("192.0.2.77")),
            ("v6", IpMask::Off, "2001:db8::1", Some("2001:db8::1")),
            (
                "mapped",
                IpMask::Off,
                "::ffff:192.0.2.77",
                Some("192.0.2.77"),
            ),
            ("v4", IpMask::Prefix, "192.0.2.77", Some("192.0.2.0/24")),
            (
                "v6",
                IpMask::Prefix,
                "2001:db8:1:2::3",
                Some("2001:db8:1::/48"),
            ),
            (
                "mapped",
                IpMask::Prefix,
                "::ffff:192.0.2.77",
                Some("192.0.2.0/24"),
            ),
            ("v4", IpMask::Drop, "192.0.2.77", None),
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(mask.text(ip, AT).as_deref(), want, "{name} {mask:?}");
        }
    }

    // AUD-34
    #[test]
    fn a_kept_text_is_that_of_the_address_asked_for() {
        for mask in [IpMask::Off, IpMask::Prefix, IpMask::Drop] {
            let mut texts = IpText::new(mask.clone());
            for ip in ["192.0.2.7", "192.0.2.7", "192.0.3.7", "2001:db8::1"] {
                let ip: IpAddr = ip.parse().unwrap();
                let want = mask.text(ip, AT);
                assert_eq!(
                    texts.of(ip, AT),
                    want.as_deref().map(str::as_bytes),
                    "{mask:?}"
                );
            }
        }
    }

    // AUD-34
    #[test]
    fn a_hash_is_keyed_and_the_same_for_both_forms_of_an_address() {
        let text = |key: u8, ip: &str| {
            let mask = IpMask::Hash([key; 32]);
            mask.text(ip.parse().unwrap(), AT).unwrap()
        };
        let hash = text(1, "192.0.2.77");
        assert!(hash.starts_with("ip_") && hash.len() == 15, "{hash}");
        assert_eq!(hash, text(1, "::ffff:192.0.2.77"));
        assert_ne!(hash, text(2, "192.0.2.77"));
        assert_ne!(hash, text(1, "192.0.2.78"));
    }

    // AUD-34
    #[test]
    fn a_daily_hash_is_another_one_each_day_and_the_same_within_it() {
        let mask = IpMask::HashDaily([1; 32]);
        let ip: IpAddr = "192.0.2.77".parse().unwrap();
        let day = AT.0 / DAY_MS * DAY_MS;
        let text = |ms: u64| mask.text(ip, WallMillis(day + ms)).unwrap();
        assert!(text(0).starts_with("ip_") && text(0).len() == 15);
        assert_eq!(text(0), text(DAY_MS - 1));
        assert_ne!(text(0), text(DAY_MS));
        assert_ne!(Some(text(0)), IpMask::Hash([1; 32]).text(ip, AT));
        // A text that is kept is not that of the day before.
        let mut texts = IpText::new(mask.clone());
        for ms in [0, DAY_MS - 1, DAY_MS, 0] {
            let want = text(ms);
            assert_eq!(texts.of(ip, WallMillis(day + ms)), Some(want.as_bytes()));
        }
    }
}
