//! Answers of HTTP/1.x as far as a check looks at them (RFC 9112): the status, how long the body is, and whether
//! another request may follow. Bytes in, findings out; nothing here waits or keeps a copy.

use ::http::StatusCode;

use crate::outcome::Failure;

/// Fields of a head, and of what may follow a chunked body.
const FIELDS_MAX: usize = 100;

/// The head of a final answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) body: Framing,
    /// Whether the origin will take another request on this connection (RFC 9112, 9.3).
    pub(super) stays_open: bool,
}

/// How the end of a body is found (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    /// With the end of the connection.
    Close,
}

/// Takes the framing off a body.
pub(super) enum Body {
    /// This many bytes are to come.
    Left(u64),
    UntilClose,
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    Done,
}

/// What [`head`] made of the bytes there are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read<T> {
    /// It took so many bytes.
    Whole(usize, T),
    /// More has to come first.
    Partial,
}

/// Reads the head of an answer to a GET.
///
/// # Errors
/// It is none, or has too many fields.
pub(super) fn head(bytes: &[u8]) -> Result<Read<Head>, Failure> {
    let mut at = 0;
    loop {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut head = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(len) = head.parse(&bytes[at..]).map_err(unreadable)? else {
            return Ok(Read::Partial);
        };
        at += len;
        let status = head.code.unwrap_or_default();
        // An interim answer announces the final one (RFC 9110, 15.2); after a 101 there is no other.
        if !(100..200).contains(&status) || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Read::Whole(at, judge(status, head.version == Some(1), head.headers)?));
        }
    }
}

fn judge(status: u16, is_http11: bool, fields: &[httparse::Header<'_>]) -> Result<Head, Failure> {
    if StatusCode::from_u16(status).is_err() {
        return Err(Failure::NotHttp);
    }
    let (mut closes, mut keeps) = (false, false);
    let (mut length, mut encoding) = (None, None);
    for field in fields {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("connection") {
            for token in tokens(field.value) {
                closes |= token.eq_ignore_ascii_case(b"close");
                keeps |= token.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if is("content-length") {
            for token in tokens(field.value) {
                let told = number(token)?;
                // One that is told twice has to be the same.
                if length.replace(told).is_some_and(|before| before != told) {
                    return Err(Failure::NotHttp);
                }
            }
            // An empty list is no length.
            length.ok_or(Failure::NotHttp)?;
        } else if is("transfer-encoding") {
            encoding = tokens(field.value).last().or(encoding);
        }
    }
    let body = match (encoding, length) {
        _ if status == 101 || status == 204 || status == 304 => Framing::Length(0),
        (Some(_), _) if !is_http11 => return Err(Failure::NotHttp),
        (Some(last), _) if last.eq_ignore_ascii_case(b"chunked") => Framing::Chunked,
        (Some(_), _) | (None, None) => Framing::Close,
        (None, Some(length)) => Framing::Length(length),
    };
    // Where two lengths are told somebody may believe the other one.
    let is_clear = body != Framing::Close && status != 101 && !(encoding.is_some() && length.is_some());
    Ok(Head { status, body, stays_open: is_clear && !closes && (is_http11 || keeps) })
}

impl Body {
    pub(super) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(0) => Self::Done,
            Framing::Length(length) => Self::Left(length),
            Framing::Chunked => Self::ChunkSize,
            Framing::Close => Self::UntilClose,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Whether the end of the connection is the end of it, as far as it has come.
    pub(super) fn may_end_here(&self) -> bool {
        matches!(self, Self::Done | Self::UntilClose)
    }

    /// Takes one part of `bytes` off: how much that was, and what of it is data. Nothing at all means that more has to
    /// come first.
    ///
    /// # Errors
    /// The framing is broken, or has too many fields at its end.
    pub(super) fn take<'a>(&mut self, bytes: &'a [u8]) -> Result<(usize, &'a [u8]), Failure> {
        const NO_DATA: &[u8] = &[];
        let up_to = |left: u64| usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        match self {
            Self::Done => Ok((0, NO_DATA)),
            Self::UntilClose => Ok((bytes.len(), bytes)),
            Self::Left(left) => {
                let len = up_to(*left);
                *left -= len as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok((len, &bytes[..len]))
            }
            Self::Chunk(left) => {
                let len = up_to(*left);
                *left -= len as u64;
                if *left == 0 {
                    *self = Self::ChunkEnd;
                }
                Ok((len, &bytes[..len]))
            }
            Self::ChunkEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    *self = Self::ChunkSize;
                    Ok((2, NO_DATA))
                }
                [] | [b'\r'] => Ok((0, NO_DATA)),
                _ => Err(Failure::NotHttp),
            },
            Self::ChunkSize => {
                // The library takes a line without a digit for a zero.
                if bytes.first().is_some_and(|first| !first.is_ascii_hexdigit()) {
                    return Err(Failure::NotHttp);
                }
                let size = httparse::parse_chunk_size(bytes).map_err(|_| Failure::NotHttp)?;
                let httparse::Status::Complete((len, size)) = size else { return Ok((0, NO_DATA)) };
                *self = if size == 0 { Self::Trailers } else { Self::Chunk(size) };
                Ok((len, NO_DATA))
            }
            Self::Trailers => {
                let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
                let fields = httparse::parse_headers(bytes, &mut fields).map_err(unreadable)?;
                let httparse::Status::Complete((len, _)) = fields else { return Ok((0, NO_DATA)) };
                *self = Self::Done;
                Ok((len, NO_DATA))
            }
        }
    }
}

/// The parts of a list (RFC 9110, 5.6.1).
fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

fn number(text: &[u8]) -> Result<u64, Failure> {
    let digits = text.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(text).ok()).flatten();
    digits.and_then(|digits| digits.parse().ok()).ok_or(Failure::NotHttp)
}

fn unreadable(error: httparse::Error) -> Failure {
    if error == httparse::Error::TooManyHeaders { Failure::TooLarge } else { Failure::NotHttp }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn answer(text: &str) -> Result<Read<Head>, Failure> {
        head(text.as_bytes())
    }

    /// Feeds a body in pieces; returns its data and how many bytes it took, if it ended.
    fn read(framing: Framing, pieces: &[&[u8]]) -> Result<Option<(Vec<u8>, usize)>, Failure> {
        let (mut body, mut data, mut buffer, mut took) = (Body::new(framing), Vec::new(), Vec::new(), 0);
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                let (len, part) = body.take(&buffer)?;
                data.extend_from_slice(part);
                took += len;
                buffer.drain(..len);
                if len == 0 {
                    break;
                }
            }
        }
        Ok(body.may_end_here().then_some((data, took)))
    }

    #[test]
    fn the_body_ends_where_the_standard_says() {
        for (fields, framing, stays_open) in [
            ("content-length: 5\r\n", Framing::Length(5), true),
            ("Content-Length: 5\r\ncontent-length: 5, 5\r\n", Framing::Length(5), true),
            ("", Framing::Close, false),
            ("transfer-encoding: gzip, Chunked\r\n", Framing::Chunked, true),
            ("transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n", Framing::Chunked, true),
            ("transfer-encoding: chunked, gzip\r\n", Framing::Close, false),
            ("transfer-encoding: chunked\r\ncontent-length: 3\r\n", Framing::Chunked, false),
            ("content-length: 5\r\nconnection: x, Close\r\n", Framing::Length(5), false),
            (
                "content-length: 5\r\nconnection: keep-alive\r\nconnection: close\r\n",
                Framing::Length(5),
                false,
            ),
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
            let expected = Head { status: 200, body: framing, stays_open };
            assert_eq!(answer(&text), Ok(Read::Whole(text.len(), expected)), "{fields:?}");
        }
        for (start, body, stays_open) in [
            ("HTTP/1.1 204 No\r\n", Framing::Length(0), true),
            ("HTTP/1.1 304 Same\r\ncontent-length: 7\r\n", Framing::Length(0), true),
            ("HTTP/1.1 101 Other\r\n", Framing::Length(0), false),
            ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n", Framing::Length(1), false),
            ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\nconnection: Keep-Alive\r\n", Framing::Length(1), true),
        ] {
            let Ok(Read::Whole(_, head)) = answer(&format!("{start}\r\n")) else { panic!("{start:?}") };
            assert_eq!((head.body, head.stays_open), (body, stays_open), "{start:?}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for fields in [
            "content-length: 5\r\ncontent-length: 6\r\n",
            "content-length: 5, 6\r\n",
            "content-length:\r\n",
            "content-length: +5\r\n",
            "content-length: 0x5\r\n",
            "content-length: 18446744073709551616\r\n",
        ] {
            assert_eq!(
                answer(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")),
                Err(Failure::NotHttp),
                "{fields:?}"
            );
        }
        let old = "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(answer(old), Err(Failure::NotHttp));
        assert_eq!(answer("HTTP/1.1 000 No\r\n\r\n"), Err(Failure::NotHttp));
    }

    #[test]
    fn interim_answers_are_passed_over() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\n";
        assert_eq!(answer(text), Ok(Read::Partial));
        let whole = format!("{text}HTTP/1.1 204 No\r\n\r\n");
        let expected = Head { status: 204, body: Framing::Length(0), stays_open: true };
        assert_eq!(answer(&format!("{whole}rest")), Ok(Read::Whole(whole.len(), expected)));
    }

    #[test]
    fn fields_are_counted() {
        let fields = |count| format!("HTTP/1.1 204 No\r\n{}\r\n", "x: y\r\n".repeat(count));
        assert!(matches!(answer(&fields(FIELDS_MAX)), Ok(Read::Whole(..))));
        assert_eq!(answer(&fields(FIELDS_MAX + 1)), Err(Failure::TooLarge));
        let trailers = |count| format!("0\r\n{}\r\n", "x: y\r\n".repeat(count));
        let body = |text: &str| read(Framing::Chunked, &[text.as_bytes()]);
        assert_eq!(body(&trailers(FIELDS_MAX)).unwrap().unwrap().0, b"");
        assert_eq!(body(&trailers(FIELDS_MAX + 1)), Err(Failure::TooLarge));
    }

    #[test]
    fn chunks_are_exact() {
        let body = |text: &str| read(Framing::Chunked, &[text.as_bytes()]);
        let whole = "5;why=not\r\nall i\r\n6 \r\ns well\r\n0\r\nx: y\r\n\r\n";
        assert_eq!(body(&format!("{whole}rest")), Ok(Some((b"all is well".to_vec(), whole.len()))));
        for broken in ["\r\n", "x\r\n", "-1\r\n", " 1\r\n", "2\r\nabc\r\n", "10000000000000000\r\n", "1\nx"] {
            assert_eq!(body(broken), Err(Failure::NotHttp), "{broken:?}");
        }
        for partial in ["", "5", "5\r", "5\r\nall", "5\r\nall i", "5\r\nall i\r", "0\r\n", "0\r\nx: y\r\n"] {
            assert_eq!(body(partial), Ok(None), "{partial:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much(bytes in vec(any::<u8>(), 0..200)) {
            drop(head(&bytes));
            drop(read(Framing::Chunked, &[&bytes]));
        }

        #[test]
        fn pieces_make_the_same_of_a_body(
            chunks in vec(vec(any::<u8>(), 1..40), 0..5),
            cuts in vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut text = Vec::new();
            for chunk in &chunks {
                text.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\n\r\n");
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
            cuts.sort_unstable();
            let (data, took) = read(Framing::Chunked, &split(&text, &cuts)).unwrap().unwrap();
            prop_assert_eq!(data, chunks.concat());
            prop_assert_eq!(took, text.len());
        }
    }

    fn split<'a>(text: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
        let starts = [0].into_iter().chain(cuts.iter().copied());
        let ends = cuts.iter().copied().chain([text.len()]);
        starts.zip(ends).map(|(from, to)| &text[from..to]).collect()
    }
}
