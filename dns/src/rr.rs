//! Record types and record sets, with record data in uncompressed wire form.
//!
//! Answers are written straight from these; hickory's types appear only where its servers ask for them.

use std::fmt;

use crate::name::Name;

/// A record type by its number (RFC 1035 section 3.2.2 and the IANA registry).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Rtype(pub(crate) u16);

/// Declares the known types once: constants, text names, and the labels of metrics all come from this list.
macro_rules! rtypes {
    ($($name:ident = $number:literal),* $(,)?) => {
        #[allow(dead_code)] // one list for all uses; not every type has a rule of its own
        impl Rtype {
            $(pub(crate) const $name: Self = Self($number);)*

            /// The mnemonic of a known type.
            pub(crate) fn mnemonic(self) -> Option<&'static str> {
                self.position().and_then(|position| MNEMONICS.get(usize::from(position)).copied())
            }

            /// A known type's place in [`MNEMONICS`].
            pub(crate) fn position(self) -> Option<u8> {
                #[allow(clippy::upper_case_acronyms)] // as the registry spells them
                enum Known { $($name),* }
                match self.0 { $($number => Some(Known::$name as u8),)* _ => None }
            }

            fn from_mnemonic(text: &str) -> Option<Self> {
                $(if text.eq_ignore_ascii_case(stringify!($name)) { return Some(Self::$name); })*
                None
            }
        }

        /// Of all known types.
        pub(crate) const MNEMONICS: &[&str] = &[$(stringify!($name)),*];
    };
}

rtypes! {
    A = 1, NS = 2, CNAME = 5, SOA = 6, PTR = 12, HINFO = 13, MX = 15, TXT = 16, RP = 17, AFSDB = 18, SIG = 24, KEY = 25,
    AAAA = 28, LOC = 29, SRV = 33, NAPTR = 35, KX = 36, CERT = 37, DNAME = 39, OPT = 41, DS = 43, SSHFP = 44, RRSIG = 46,
    NSEC = 47, DNSKEY = 48, NSEC3 = 50, NSEC3PARAM = 51, TLSA = 52, SMIMEA = 53, CDS = 59, CDNSKEY = 60, OPENPGPKEY = 61,
    CSYNC = 62, ZONEMD = 63, SVCB = 64, HTTPS = 65, SPF = 99, TKEY = 249, TSIG = 250, IXFR = 251, AXFR = 252, ANY = 255,
    URI = 256, CAA = 257,
}

impl Rtype {
    /// From a mnemonic in any case, or from `TYPEnnn` (RFC 3597 section 5).
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::from_mnemonic(text).or_else(|| {
            let digits = text.get(..4).filter(|head| head.eq_ignore_ascii_case("TYPE")).and(text.get(4..))?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok().map(Self))?
        })
    }

    /// Types that only ask or only travel and so can never be data of a zone (RFC 6895 section 3.1).
    pub(crate) fn is_meta(self) -> bool {
        self == Self::OPT || (128..=255).contains(&self.0) || self.0 == 0
    }
}

impl fmt::Display for Rtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mnemonic() {
            Some(text) => f.write_str(text),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

/// All records of one owner and type; class IN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RrSet {
    /// Owner in the case of the zone file; a wildcard's own name, not the name it is expanded to.
    pub(crate) owner: Name,
    pub(crate) rtype: Rtype,
    /// Seconds.
    pub(crate) ttl: u32,
    /// Wire form, names uncompressed; never empty.
    pub(crate) rdata: Vec<Box<[u8]>>,
}

impl RrSet {
    /// Domain names in the data whose addresses belong in the additional section (RFC 1035 section 3.3, RFC 2782).
    pub(crate) fn targets(&self) -> impl Iterator<Item = &[u8]> {
        let skip = match self.rtype {
            Rtype::NS => Some(0),
            Rtype::MX => Some(2),
            Rtype::SRV => Some(6),
            _ => None,
        };
        self.rdata.iter().filter_map(move |rdata| rdata.get(skip?..)).filter(|target| target.len() > 1)
    }

    /// The target of a CNAME set.
    pub(crate) fn cname_target(&self) -> Option<&[u8]> {
        (self.rtype == Rtype::CNAME).then(|| self.rdata.first().map(|rdata| &**rdata)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_parse_by_name_and_number() {
        assert_eq!(Rtype::parse("aaaa"), Some(Rtype::AAAA));
        assert_eq!(Rtype::parse("type65280"), Some(Rtype(65280)));
        assert_eq!(Rtype(65280).to_string(), "TYPE65280");
        for bad in ["AAA", "TYPE", "TYPE65536", "TYPE-1", "TYPE+1", ""] {
            assert_eq!(Rtype::parse(bad), None, "{bad}");
        }
    }
}
