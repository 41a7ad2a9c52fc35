//! Attacks over HTTP/1.x, by name: what is sent, and the only thing that may come of it.
//!
//! In the bytes `<host>` stands for the right Host field, `<smuggled>` for a whole request that nobody may execute (it is
//! added at the end where it is not named), `<length>` and `<hex>` for its length, and `<64k>` for that many bytes.

/// What comes of an attack.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    /// This status, the connection closed, and not a byte at the origin.
    Refused(u16),
    /// 400 and the connection closed, whether the body comes with the head or later; an origin may have seen a
    /// beginning, which ends with its connection.
    Cut,
    /// One request at the origin, with this request line, these fields beside those of every request, and this body.
    One(&'static str, &'static [&'static str], Body),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Body {
    None,
    Smuggled,
    Text(&'static str),
}

pub(super) struct Attack {
    pub(super) name: &'static str,
    pub(super) bytes: &'static [u8],
    pub(super) verdict: Verdict,
}

const fn row(name: &'static str, verdict: Verdict, bytes: &'static [u8]) -> Attack {
    Attack { name, bytes, verdict }
}

const BAD: Verdict = Verdict::Refused(400);
/// A transfer coding that is not known (RFC 9112, section 6.1).
const CODING: Verdict = Verdict::Refused(501);
/// A version of HTTP that is not spoken (RFC 9110, section 15.6.6).
const VERSION: Verdict = Verdict::Refused(505);
const METHOD: Verdict = Verdict::Refused(405);
/// RFC 6585, section 5.
const TOO_LARGE: Verdict = Verdict::Refused(431);
const CUT: Verdict = Verdict::Cut;

/// Bodies are last, because what they leave at the origin may come late.
pub(super) fn all() -> impl Iterator<Item = &'static Attack> {
    [LENGTH_AND_CODING, CODINGS, LENGTHS, HOSTS, LINES, FIELDS, HARMLESS, BODIES].into_iter().flatten()
}

#[rustfmt::skip]
const LENGTH_AND_CODING: &[Attack] = &[
    row("CL.TE", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    row("TE.CL", BAD, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n<hex>\r\n<smuggled>\r\n0\r\n\r\n"),
    row("CL.TE of length zero", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    row("CL.TE with an unknown coding", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 6\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    row("CL.TE with Connection naming the length", BAD, b"POST / HTTP/1.1\r\n<host>\r\nConnection: Content-Length\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    row("CL.TE with Connection naming the coding", BAD, b"POST / HTTP/1.1\r\n<host>\r\nConnection: Transfer-Encoding\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    row("CL.TE in HTTP/1.0", BAD, b"POST / HTTP/1.0\r\n<host>\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    row("TE in HTTP/1.0", BAD, b"POST / HTTP/1.0\r\n<host>\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    row("CL.TE on a GET", BAD, b"GET / HTTP/1.1\r\n<host>\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    row("TE.TE, twice the same", BAD, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    row("TE.TE, the second unknown", BAD, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\nTransfer-encoding: x\r\n\r\n0\r\n\r\n"),
    row("TE.TE, the first unknown", BAD, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: identity\r\nTransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    row("TE.TE and a length", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\nTransfer-encoding: x\r\n\r\n0\r\n\r\n"),
];

#[rustfmt::skip]
const CODINGS: &[Attack] = &[
    row("an x before the coding", CODING, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    row("a coding of nothing", CODING, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n"),
    row("chunked, identity", CODING, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    row("identity, chunked", CODING, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n"),
    row("gzip, chunked", CODING, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    row("chunked, chunked", CODING, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    row("a comma before chunked", CODING, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: , chunked\r\n\r\n0\r\n\r\n"),
    row("a comma behind chunked", CODING, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n"),
    row("chunked in quotes", CODING, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    row("chunked in single quotes", CODING, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: 'chunked'\r\n\r\n0\r\n\r\n"),
    row("chunked with a parameter", CODING, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
    row("chunked with the sign for kelvin", CODING, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chun\xe2\x84\xaaed\r\n\r\n0\r\n\r\n"),
    row("chunked behind a blank that does not break", CODING, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: \xa0chunked\r\n\r\n0\r\n\r\n"),
    row("chunked behind a vertical tab", BAD, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    row("chunked behind a form feed", BAD, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: \x0cchunked\r\n\r\n0\r\n\r\n"),
    row("chunked with NUL behind", BAD, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n"),
    row("chunked with DEL behind", BAD, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\x7f\r\n\r\n0\r\n\r\n"),
    row("chunked with a carriage return behind", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\r\n\r\n0\r\n\r\n"),
    row("a space before the coding's colon", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 6\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    row("a tab before the coding's colon", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 6\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n"),
    row("NUL before the coding's colon", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 6\r\nTransfer-Encoding\0: chunked\r\n\r\n0\r\n\r\n"),
    row("a line feed before the coding's colon", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 6\r\nTransfer-Encoding\n: chunked\r\n\r\n0\r\n\r\n"),
    row("a coding without a colon", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 6\r\nTransfer-Encoding chunked\r\n\r\n0\r\n\r\n"),
    row("a space within the coding's name", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 6\r\nTransfer Encoding: chunked\r\n\r\n0\r\n\r\n"),
    row("NUL within the coding's name", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 6\r\nTransfer-\0Encoding: chunked\r\n\r\n0\r\n\r\n"),
    row("a tab before the coding's name", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 6\r\n\tTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    row("the coding on a line of its own", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 6\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    row("a coding behind a bare line feed", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 6\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    row("a coding behind a bare carriage return", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 6\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
];

#[rustfmt::skip]
const LENGTHS: &[Attack] = &[
    row("two lengths", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 0\r\nContent-Length: <length>\r\n\r\n<smuggled>"),
    row("one length twice", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx"),
    row("a list of lengths", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 0, <length>\r\n\r\n<smuggled>"),
    row("a list of one length", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 1, 1\r\n\r\nx"),
    row("a length and a comma", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 1,\r\n\r\nx"),
    row("a length with a plus", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: +<length>\r\n\r\n<smuggled>"),
    row("a length below zero", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: -<length>\r\n\r\n<smuggled>"),
    row("a length with a space", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 0 <length>\r\n\r\n<smuggled>"),
    row("a length in hexadecimal", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 0x<hex>\r\n\r\n<smuggled>"),
    row("a length with a point", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 1.0\r\n\r\nx"),
    row("a length with an exponent", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 1e0\r\n\r\nx"),
    row("a length with an underscore", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 0_1\r\n\r\nx"),
    row("a length in quotes", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: \"1\"\r\n\r\nx"),
    row("a length with a parameter", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 1;a\r\n\r\nx"),
    row("a length of nothing", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length:\r\n\r\n"),
    row("a length in wide digits", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: \xef\xbc\x91\r\n\r\nx"),
    row("a length with NUL", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 0\0<length>\r\n\r\n<smuggled>"),
    row("a length behind a vertical tab", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: \x0b1\r\n\r\nx"),
    row("a length beyond 64 bits", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 18446744073709551616\r\n\r\n"),
    row("a length of 64 bits and one", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 18446744073709551617\r\n\r\nx"),
    row("a space before the length's colon", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length : <length>\r\n\r\n<smuggled>"),
    row("a length on two lines", BAD, b"POST / HTTP/1.1\r\n<host>\r\nContent-Length: 0\r\n <length>\r\n\r\n<smuggled>"),
    row("a length on a GET, twice", BAD, b"GET / HTTP/1.1\r\n<host>\r\nContent-Length: 0\r\nContent-Length: <length>\r\n\r\n<smuggled>"),
];

#[rustfmt::skip]
const HOSTS: &[Attack] = &[
    row("two hosts", BAD, b"GET / HTTP/1.1\r\n<host>\r\nHost: evil.test\r\n\r\n"),
    row("one host twice", BAD, b"GET / HTTP/1.1\r\n<host>\r\n<host>\r\n\r\n"),
    row("no host", BAD, b"GET / HTTP/1.1\r\n\r\n"),
    row("a space before the host's colon", BAD, b"GET / HTTP/1.1\r\nHost : www.scene.test\r\n\r\n"),
    row("a second host behind a fold", BAD, b"GET / HTTP/1.1\r\n<host>\r\n Host: evil.test\r\n\r\n"),
    row("a host behind a blank", BAD, b"GET / HTTP/1.1\r\n Host: evil.test\r\n<host>\r\n\r\n"),
    row("user information in a host", BAD, b"GET / HTTP/1.1\r\nHost: evil.test@www.scene.test\r\n\r\n"),
    row("a path in a host", BAD, b"GET / HTTP/1.1\r\nHost: www.scene.test/evil\r\n\r\n"),
    row("a blank in a host", BAD, b"GET / HTTP/1.1\r\nHost: www.scene.test evil.test\r\n\r\n"),
    row("a query in a host", BAD, b"GET / HTTP/1.1\r\nHost: www.scene.test?evil\r\n\r\n"),
    row("a backslash in a host", BAD, b"GET / HTTP/1.1\r\nHost: www.scene.test\\evil\r\n\r\n"),
    row("bytes beyond ASCII in a host", BAD, b"GET / HTTP/1.1\r\nHost: www.scene.test\xff\r\n\r\n"),
    row("absolute form for another host", BAD, b"GET http://evil.test/ HTTP/1.1\r\n<host>\r\n\r\n"),
    row("absolute form for another port", BAD, b"GET http://www.scene.test:81/ HTTP/1.1\r\n<host>\r\n\r\n"),
    row("absolute form with user information", BAD, b"GET http://evil@www.scene.test/ HTTP/1.1\r\n<host>\r\n\r\n"),
    row("absolute form of no host", BAD, b"GET http:///smuggled HTTP/1.1\r\n<host>\r\n\r\n"),
    row("absolute form and no host field", BAD, b"GET http://www.scene.test/ HTTP/1.1\r\n\r\n"),
    row("absolute form of another scheme", BAD, b"GET ftp://www.scene.test/ HTTP/1.1\r\n<host>\r\n\r\n"),
    row("the form of an authority", BAD, b"GET www.scene.test:80 HTTP/1.1\r\n<host>\r\n\r\n"),
];

#[rustfmt::skip]
const LINES: &[Attack] = &[
    row("HTTP/0.9", BAD, b"GET /smuggled\r\n\r\n"),
    row("HTTP/0.9 by its number", VERSION, b"GET / HTTP/0.9\r\n<host>\r\n\r\n"),
    row("HTTP/1.2", VERSION, b"GET / HTTP/1.2\r\n<host>\r\n\r\n"),
    row("HTTP/2 without TLS", VERSION, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    row("HTTP/3", VERSION, b"GET / HTTP/3.0\r\n<host>\r\n\r\n"),
    row("HTTP/1.10", BAD, b"GET / HTTP/1.10\r\n<host>\r\n\r\n"),
    row("HTTP/01.1", BAD, b"GET / HTTP/01.1\r\n<host>\r\n\r\n"),
    row("HTTP/1", BAD, b"GET / HTTP/1\r\n<host>\r\n\r\n"),
    row("http in small letters", BAD, b"GET / http/1.1\r\n<host>\r\n\r\n"),
    row("another protocol", BAD, b"GET / ICAP/1.1\r\n<host>\r\n\r\n"),
    row("two versions", BAD, b"GET / HTTP/1.1 HTTP/1.1\r\n<host>\r\n\r\n"),
    row("a line feed behind the version", BAD, b"GET / HTTP/1.1\n<host>\r\n\r\n"),
    row("a carriage return in the line", BAD, b"GET / HTTP/1.1\rX: y\r\n<host>\r\n\r\n"),
    row("NUL behind the version", BAD, b"GET / HTTP/1.1\0\r\n<host>\r\n\r\n"),
    row("a blank behind the version", BAD, b"GET / HTTP/1.1 \r\n<host>\r\n\r\n"),
    row("a blank before the method", BAD, b" GET / HTTP/1.1\r\n<host>\r\n\r\n"),
    row("two blanks", BAD, b"GET  / HTTP/1.1\r\n<host>\r\n\r\n"),
    row("tabs for blanks", BAD, b"GET\t/\tHTTP/1.1\r\n<host>\r\n\r\n"),
    row("a vertical tab for a blank", BAD, b"GET\x0b/ HTTP/1.1\r\n<host>\r\n\r\n"),
    row("no target", BAD, b"GET HTTP/1.1\r\n<host>\r\n\r\n"),
    row("no method", BAD, b"/ HTTP/1.1\r\n<host>\r\n\r\n"),
    row("a method with a colon", BAD, b"GET: / HTTP/1.1\r\n<host>\r\n\r\n"),
    row("a method with NUL", BAD, b"G\0T / HTTP/1.1\r\n<host>\r\n\r\n"),
    row("a method beyond ASCII", BAD, b"G\xcbT / HTTP/1.1\r\n<host>\r\n\r\n"),
    row("CONNECT", METHOD, b"CONNECT www.scene.test:80 HTTP/1.1\r\nHost: www.scene.test:80\r\n\r\n"),
    row("TRACE", METHOD, b"TRACE / HTTP/1.1\r\n<host>\r\n\r\n"),
    row("a blank in the target", BAD, b"GET /a HTTP/1.1/b HTTP/1.1\r\n<host>\r\n\r\n"),
    row("NUL in the target", BAD, b"GET /\0 HTTP/1.1\r\n<host>\r\n\r\n"),
    row("a fragment in the target", BAD, b"GET /#evil HTTP/1.1\r\n<host>\r\n\r\n"),
    row("bytes beyond ASCII in the target", BAD, b"GET /\xff HTTP/1.1\r\n<host>\r\n\r\n"),
    row("a target without a slash", BAD, b"GET smuggled HTTP/1.1\r\n<host>\r\n\r\n"),
    row("a target that begins with an at", BAD, b"GET @evil.test/ HTTP/1.1\r\n<host>\r\n\r\n"),
    row("a target that begins with a backslash", BAD, b"GET \\evil HTTP/1.1\r\n<host>\r\n\r\n"),
    row("GET for a star", BAD, b"GET * HTTP/1.1\r\n<host>\r\n\r\n"),
    row("a target of 64 KiB", TOO_LARGE, b"GET /<64k> HTTP/1.1\r\n<host>\r\n\r\n"),
    row("a PROXY header that was not asked for", BAD, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\n<host>\r\n\r\n"),
];

#[rustfmt::skip]
const FIELDS: &[Attack] = &[
    row("obs-fold", BAD, b"GET / HTTP/1.1\r\n<host>\r\nX: y\r\n z\r\n\r\n"),
    row("obs-fold with a tab", BAD, b"GET / HTTP/1.1\r\n<host>\r\nX: y\r\n\tz\r\n\r\n"),
    row("obs-fold before the first field", BAD, b"GET / HTTP/1.1\r\n X: y\r\n<host>\r\n\r\n"),
    row("obs-fold of nothing", BAD, b"GET / HTTP/1.1\r\n<host>\r\nX: y\r\n \r\n\r\n"),
    row("bare line feeds", BAD, b"GET / HTTP/1.1\n<host>\n\n"),
    row("a bare line feed for the empty line", BAD, b"GET / HTTP/1.1\r\n<host>\r\n\n"),
    row("a bare line feed in a value", BAD, b"GET / HTTP/1.1\r\n<host>\r\nX: y\nZ: z\r\n\r\n"),
    row("a bare carriage return in a value", BAD, b"GET / HTTP/1.1\r\n<host>\r\nX: y\rZ: z\r\n\r\n"),
    row("a space before a colon", BAD, b"GET / HTTP/1.1\r\n<host>\r\nX : y\r\n\r\n"),
    row("NUL in a value", BAD, b"GET / HTTP/1.1\r\n<host>\r\nX: y\0z\r\n\r\n"),
    row("NUL in a name", BAD, b"GET / HTTP/1.1\r\n<host>\r\nX\0: y\r\n\r\n"),
    row("a bell in a value", BAD, b"GET / HTTP/1.1\r\n<host>\r\nX: \x07\r\n\r\n"),
    row("a bell in a name", BAD, b"GET / HTTP/1.1\r\n<host>\r\nX\x07: y\r\n\r\n"),
    row("DEL in a value", BAD, b"GET / HTTP/1.1\r\n<host>\r\nX: \x7f\r\n\r\n"),
    row("a name beyond ASCII", BAD, b"GET / HTTP/1.1\r\n<host>\r\nX\xe4: y\r\n\r\n"),
    row("a name in brackets", BAD, b"GET / HTTP/1.1\r\n<host>\r\n[X]: y\r\n\r\n"),
    row("an empty name", BAD, b"GET / HTTP/1.1\r\n<host>\r\n: y\r\n\r\n"),
    row("no colon", BAD, b"GET / HTTP/1.1\r\n<host>\r\nX\r\n\r\n"),
    row("an expectation that nobody knows", Verdict::Refused(417), b"POST / HTTP/1.1\r\n<host>\r\nExpect: 100-continue, more\r\nContent-Length: <length>\r\n\r\n<smuggled>"),
    row("a field of 64 KiB", TOO_LARGE, b"GET / HTTP/1.1\r\n<host>\r\nX: <64k>\r\n\r\n"),
];

#[rustfmt::skip]
const BODIES: &[Attack] = &[
    row("no size", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n\r\n\r\n"),
    row("an extension without a size", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n;a\r\n\r\n"),
    row("a size with a plus", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\nx\r\n0\r\n\r\n"),
    row("a size below zero", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n"),
    row("a size with 0x", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n0x<hex>\r\n<smuggled>\r\n0\r\n\r\n"),
    row("a size with an underscore", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n0_1\r\nx\r\n0\r\n\r\n"),
    row("a blank before a size", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n 1\r\nx\r\n0\r\n\r\n"),
    row("a blank behind a size", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\nx\r\n0\r\n\r\n"),
    row("two sizes", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n0 1\r\nx\r\n0\r\n\r\n"),
    row("a size of 64 bits and one", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000001\r\nx\r\n0\r\n\r\n"),
    row("the largest size of 64 bits", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx\r\n0\r\n\r\n"),
    row("zeros without end before a size", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n00000000000000001\r\nx\r\n0\r\n\r\n"),
    row("a line feed behind a size", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n"),
    row("a carriage return behind a size", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n1\rx\r\n0\r\n\r\n"),
    row("a line feed in an extension", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n2;\nxx\r\n<hex>\r\n0\r\n\r\n<smuggled>"),
    row("a carriage return in an extension", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n1;a\rb\r\nx\r\n0\r\n\r\n"),
    row("NUL in an extension", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n1;\0\r\nx\r\n0\r\n\r\n"),
    row("an extension of 64 KiB", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n1;a=<64k>\r\nx\r\n0\r\n\r\n"),
    row("an extension of 64 KiB at the end", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0;a=<64k>\r\n\r\n"),
    row("more data than its size", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n"),
    row("less data than its size", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nx\r\n0\r\n\r\n"),
    row("no end of data", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx0\r\n\r\n"),
    row("a line feed behind data", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\n0\r\n\r\n"),
    row("two bytes for the end of data", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxXX0\r\n\r\n"),
    row("a line feed behind the last size", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n0\n\r\n"),
    row("a line feed for the end", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n"),
    row("a request for a trailer", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n<smuggled>"),
    row("a folded trailer", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n z\r\n\r\n"),
    row("a space before a trailer's colon", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX : y\r\n\r\n"),
    row("NUL in a trailer", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: \0\r\n\r\n"),
    row("a trailer of 64 KiB", CUT, b"POST / HTTP/1.1\r\n<host>\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: <64k>\r\n\r\n"),
];

/// What looks like an attack and is one request, or becomes one. All of them ask for the connection to be closed, so
/// that what follows is no request either.
#[rustfmt::skip]
const HARMLESS: &[Attack] = &[
    row("a request within a length", Verdict::One("POST / HTTP/1.1", &["content-length: 48"], Body::Smuggled),
        b"POST / HTTP/1.1\r\n<host>\r\nConnection: close\r\nContent-Length: <length>\r\n\r\n<smuggled>"),
    row("a request within a GET's length", Verdict::One("GET / HTTP/1.1", &["content-length: 48"], Body::Smuggled),
        b"GET / HTTP/1.1\r\n<host>\r\nConnection: close\r\nContent-Length: <length>\r\n\r\n<smuggled>"),
    row("a request within a chunk", Verdict::One("POST / HTTP/1.1", &["transfer-encoding: chunked"], Body::Smuggled),
        b"POST / HTTP/1.1\r\n<host>\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n<hex>\r\n<smuggled>\r\n0\r\n\r\n"),
    row("a request in an extension", Verdict::One("POST / HTTP/1.1", &["transfer-encoding: chunked"], Body::Text("x")),
        b"POST / HTTP/1.1\r\n<host>\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1;a=\"GET /smuggled HTTP/1.1\"\r\nx\r\n0\r\n\r\n"),
    row("trailers that would change the framing", Verdict::One("POST / HTTP/1.1", &["transfer-encoding: chunked"], Body::Text("x")),
        b"POST / HTTP/1.1\r\n<host>\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nContent-Length: 48\r\nHost: evil.test\r\n\r\n"),
    row("CHUNKED", Verdict::One("POST / HTTP/1.1", &["transfer-encoding: chunked"], Body::Text("x")),
        b"POST / HTTP/1.1\r\n<host>\r\nConnection: close\r\nTransfer-Encoding:\tCHUNKED \r\n\r\n1\r\nx\r\n0\r\n\r\n"),
    row("TE for Transfer-Encoding", Verdict::One("POST / HTTP/1.1", &["content-length: 48"], Body::Smuggled),
        b"POST / HTTP/1.1\r\n<host>\r\nConnection: close, TE\r\nTE: chunked\r\nContent-Length: <length>\r\n\r\n<smuggled>"),
    row("an underscore in the coding's name", Verdict::One("POST / HTTP/1.1", &["content-length: 48"], Body::Smuggled),
        b"POST / HTTP/1.1\r\n<host>\r\nConnection: close\r\nTransfer_Encoding: chunked\r\nContent-Length: <length>\r\n\r\n<smuggled>"),
    row("zeros before a length", Verdict::One("POST / HTTP/1.1", &["content-length: 048"], Body::Smuggled),
        b"POST / HTTP/1.1\r\n<host>\r\nConnection: close\r\nContent-Length: 0<length>\r\n\r\n<smuggled>"),
    row("Connection names what must stay", Verdict::One("POST / HTTP/1.1", &["content-length: 48"], Body::Smuggled),
        b"POST / HTTP/1.1\r\n<host>\r\nConnection: close, Host, Content-Length, X-Forwarded-For\r\nContent-Length: <length>\r\n\r\n<smuggled>"),
    row("a request in a value", Verdict::One("GET / HTTP/1.1", &["x: GET /smuggled HTTP/1.1"], Body::None),
        b"GET / HTTP/1.1\r\n<host>\r\nConnection: close\r\nX: GET /smuggled HTTP/1.1\r\n\r\n"),
    row("another one's address", Verdict::One("GET / HTTP/1.1", &[], Body::None),
        b"GET / HTTP/1.1\r\n<host>\r\nConnection: close\r\nX-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-Host: evil.test\r\n\r\n"),
    row("absolute form for the same host", Verdict::One("GET /a?b HTTP/1.1", &[], Body::None),
        b"GET http://www.scene.test/a?b HTTP/1.1\r\n<host>\r\nConnection: close\r\n\r\n"),
    row("empty lines before the request", Verdict::One("GET / HTTP/1.1", &[], Body::None),
        b"\r\n\r\nGET / HTTP/1.1\r\n<host>\r\nConnection: close\r\n\r\n"),
    row("OPTIONS for a star", Verdict::One("OPTIONS * HTTP/1.1", &[], Body::None),
        b"OPTIONS * HTTP/1.1\r\n<host>\r\nConnection: close\r\n\r\n"),
    row("HTTP/1.0", Verdict::One("GET / HTTP/1.1", &[], Body::None),
        b"GET / HTTP/1.0\r\n<host>\r\n\r\n"),
    row("an upgrade to HTTP/2", Verdict::One("GET / HTTP/1.1", &[], Body::None),
        b"GET / HTTP/1.1\r\n<host>\r\nConnection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"),
];
