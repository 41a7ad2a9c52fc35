//! Orders that are sent twice because their answer was lost, and done once.
//!
//! A caller names an order with a key of its own (`Idempotency-Key`, draft-ietf-httpapi-idempotency-key-header-07). The
//! first call with a key is carried out, even if its caller hangs up; later ones with the same content are answered with
//! what the first one led to. Keys live in memory, for a day: after a restart an order may be done anew, so whoever
//! is in doubt then looks first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ring::digest::{Context, SHA256};
use tidegate_health::id::Name;
use tokio::time::Instant;

use super::api::BODY_BYTES_MAX;
use super::api::problem::{Problem, bad, problem};
use super::caller::Caller;
use super::remote::too_large;
use super::secret::Hash;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// With an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Characters of a key.
const KEY_MAX: usize = 255;
/// How long, how many and how many bytes of answers are remembered; beyond it the oldest are forgotten.
const REMEMBERED_FOR: Duration = Duration::from_secs(86_400);
const KEYS_MAX: usize = 1024;
const BYTES_MAX: usize = 8 << 20;
/// An answer that is longer is not kept, only that it was given.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// Answers by caller and key. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Answers(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    by_key: HashMap<Arc<Key>, Entry>,
    /// Those that are done, the oldest first.
    done: VecDeque<(Instant, Arc<Key>)>,
    bytes: usize,
}

type Key = (Name, String);

#[derive(Debug)]
struct Entry {
    content: Hash,
    /// None while it is being carried out.
    answer: Option<Answer>,
}

/// What a call led to.
#[derive(Clone, Debug)]
struct Answer {
    status: StatusCode,
    content_type: Option<HeaderValue>,
    /// None for one that is too long.
    body: Option<Bytes>,
}

/// What is to be done with a call.
enum Turn {
    First(Claim),
    Again(Answer),
    UnderWay,
    Other,
    Full,
}

/// A call that is being carried out. Without an answer in the end it was none.
struct Claim {
    answers: Answers,
    key: Arc<Key>,
}

/// Carries a call out at most once for each key.
pub(super) async fn once(
    Extension(answers): Extension<Answers>,
    caller: Caller,
    request: Request,
    next: Next,
) -> Response {
    let key = match key(request.headers()) {
        Ok(Some(key)) => key,
        Ok(None) => return next.run(request).await,
        Err(wrong) => return wrong.into_response(),
    };
    let (parts, body) = request.into_parts();
    let body = match to_bytes(body, BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(error) => return too_large(&error).into_response(),
    };
    let content = content(&parts, &body);
    match answers.turn((caller.actor, key), content, Instant::now()) {
        Turn::First(claim) => {
            let request = Request::from_parts(parts, Body::from(body));
            // In a task of its own: a caller that hangs up does not undo what it began, and may ask what came of it.
            let work = tokio::spawn(async move { claim.keep(next.run(request).await).await });
            work.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
        }
        Turn::Again(answer) => answer.again(),
        Turn::UnderWay => {
            let message = "the call with this key is still being carried out".into();
            let next = Some("ask again, with the same key".into());
            let mut told = problem(StatusCode::CONFLICT, "under-way", message, next).into_response();
            told.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            told
        }
        Turn::Other => {
            let message = "this key was used for another call".into();
            let next = Some("take a new key for each call".into());
            problem(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", message, next).into_response()
        }
        Turn::Full => {
            let message = "too many calls with keys are being carried out".into();
            let next = Some("ask again, with the same key".into());
            problem(StatusCode::SERVICE_UNAVAILABLE, "busy", message, next).into_response()
        }
    }
}

/// The key of a call: with quotes, as the draft has it, or without.
fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut given = headers.get_all(KEY).iter();
    let Some(first) = given.next() else { return Ok(None) };
    let text = first.to_str().unwrap_or_default();
    let key = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let is_plain = key.bytes().all(|byte| matches!(byte, b'!' | b'#'..=b'~'));
    if given.next().is_some() || key.is_empty() || key.len() > KEY_MAX || !is_plain {
        let message = format!(
            "an idempotency key has 1 to {KEY_MAX} visible characters of ASCII other than quotes, and comes once"
        );
        return Err(bad(message, "take a random one, a UUID for instance, for each call"));
    }
    Ok(Some(key.to_owned()))
}

/// All that makes a call another one.
fn content(parts: &Parts, body: &Bytes) -> Hash {
    let mut hash = Context::new(&SHA256);
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    for part in [parts.method.as_str().as_bytes(), target.as_bytes(), body] {
        // With lengths, so that nothing can move from one part to the next.
        hash.update(&part.len().to_be_bytes());
        hash.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(hash.finish().as_ref());
    out
}

impl Answers {
    fn turn(&self, key: Key, content: Hash, now: Instant) -> Turn {
        let mut inner = self.lock();
        inner.forget(now);
        match inner.by_key.get(&key) {
            Some(entry) if entry.content != content => return Turn::Other,
            Some(Entry { answer: Some(answer), .. }) => return Turn::Again(answer.clone()),
            Some(_) => return Turn::UnderWay,
            None => {}
        }
        if inner.by_key.len() >= KEYS_MAX && !inner.forget_oldest() {
            return Turn::Full;
        }
        let key = Arc::new(key);
        inner.by_key.insert(key.clone(), Entry { content, answer: None });
        Turn::First(Claim { answers: self.clone(), key })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that holds the lock can panic halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn forget(&mut self, now: Instant) {
        while self.done.front().is_some_and(|(at, _)| now.duration_since(*at) >= REMEMBERED_FOR) {
            self.forget_oldest();
        }
    }

    /// False if there is none that could be forgotten.
    fn forget_oldest(&mut self) -> bool {
        let Some((_, key)) = self.done.pop_front() else { return false };
        if let Some(Entry { answer: Some(answer), .. }) = self.by_key.remove(&key) {
            self.bytes -= answer.length();
        }
        true
    }

    fn remember(&mut self, key: &Arc<Key>, answer: Answer, now: Instant) {
        let Some(entry) = self.by_key.get_mut(key) else { return };
        self.bytes += answer.length();
        entry.answer = Some(answer);
        self.done.push_back((now, key.clone()));
        while self.bytes > BYTES_MAX && self.forget_oldest() {}
    }
}

impl Claim {
    /// Remembers what was answered, if anything was done or refused for good.
    async fn keep(self, response: Response) -> Response {
        let status = response.status();
        // Nothing came of the others: the same call may be tried again.
        if !status.is_success() && status != StatusCode::CONFLICT {
            return response;
        }
        let (parts, body) = response.into_parts();
        let Ok(body) = to_bytes(body, usize::MAX).await else {
            // It was made in memory, so it can be read to its end.
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let kept = Some(body.clone()).filter(|body| body.len() <= ANSWER_BYTES_MAX);
        let answer = Answer { status, content_type: parts.headers.get(CONTENT_TYPE).cloned(), body: kept };
        self.answers.lock().remember(&self.key, answer, Instant::now());
        Response::from_parts(parts, Body::from(body))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut inner = self.answers.lock();
        if inner.by_key.get(&self.key).is_some_and(|entry| entry.answer.is_none()) {
            inner.by_key.remove(&self.key);
        }
    }
}

impl Answer {
    fn length(&self) -> usize {
        self.body.as_ref().map_or(0, Bytes::len)
    }

    fn again(self) -> Response {
        let mut response = match self.body {
            Some(body) => (self.status, body).into_response(),
            None => {
                let message = "this was done before; its answer was too long to be kept".into();
                let next = Some("look at what came of it: /api/v1/status, /api/v1/history".into());
                problem(StatusCode::CONFLICT, "answered-before", message, next).into_response()
            }
        };
        if let Some(content_type) = self.content_type {
            response.headers_mut().insert(CONTENT_TYPE, content_type);
        }
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(turn: Turn) -> Claim {
        match turn {
            Turn::First(claim) => claim,
            _ => panic!("it is the first"),
        }
    }

    fn name(number: usize) -> Key {
        ("token ci".into(), number.to_string())
    }

    async fn done(claim: Claim, status: StatusCode, length: usize) {
        claim.keep((status, vec![b'x'; length]).into_response()).await;
    }

    #[tokio::test]
    async fn a_key_stands_for_one_call_of_one_caller() {
        let (answers, now) = (Answers::default(), Instant::now());
        let claim = first(answers.turn(name(1), [1; 32], now));
        assert!(matches!(answers.turn(name(1), [1; 32], now), Turn::UnderWay));
        assert!(matches!(answers.turn(name(1), [2; 32], now), Turn::Other));
        drop(first(answers.turn(("token cd".into(), "1".into()), [2; 32], now)));
        done(claim, StatusCode::OK, 7).await;
        match answers.turn(name(1), [1; 32], now) {
            Turn::Again(answer) => {
                let again = answer.again();
                assert_eq!(again.headers()[REPLAYED], "true");
                assert_eq!(to_bytes(again.into_body(), 100).await.expect("a body"), "xxxxxxx");
            }
            _ => panic!("it was answered"),
        }
        assert!(matches!(answers.turn(name(1), [2; 32], now), Turn::Other));
        let minute = Duration::from_secs(60);
        let (before, after) = (now + REMEMBERED_FOR - minute, now + REMEMBERED_FOR + minute);
        assert!(matches!(answers.turn(name(1), [2; 32], before), Turn::Other));
        assert!(matches!(answers.turn(name(1), [2; 32], after), Turn::First(_)));
    }

    #[tokio::test]
    async fn what_came_to_nothing_may_be_tried_again_and_a_refusal_may_not() {
        let (answers, now) = (Answers::default(), Instant::now());
        for status in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::BAD_REQUEST] {
            done(first(answers.turn(name(1), [1; 32], now)), status, 1).await;
        }
        drop(first(answers.turn(name(1), [1; 32], now)));
        done(first(answers.turn(name(1), [1; 32], now)), StatusCode::CONFLICT, 1).await;
        assert!(matches!(answers.turn(name(1), [1; 32], now), Turn::Again(_)));
    }

    #[tokio::test]
    async fn the_oldest_are_forgotten_beyond_the_bounds() {
        let (answers, now) = (Answers::default(), Instant::now());
        let under_way = first(answers.turn(name(0), [0; 32], now));
        for number in 1..=KEYS_MAX {
            done(first(answers.turn(name(number), [1; 32], now)), StatusCode::OK, ANSWER_BYTES_MAX).await;
            let inner = answers.lock();
            assert!(inner.by_key.len() <= KEYS_MAX && inner.bytes <= BYTES_MAX);
        }
        assert!(matches!(answers.turn(name(0), [0; 32], now), Turn::UnderWay), "what is under way is kept");
        assert!(matches!(answers.turn(name(KEYS_MAX), [1; 32], now), Turn::Again(_)));
        drop(first(answers.turn(name(1), [1; 32], now)));
        drop(under_way);
        done(first(answers.turn(name(0), [0; 32], now)), StatusCode::OK, ANSWER_BYTES_MAX + 1).await;
        match answers.turn(name(0), [0; 32], now) {
            Turn::Again(answer) => assert_eq!(answer.again().status(), StatusCode::CONFLICT),
            _ => panic!("it was answered"),
        }
        let held: Vec<_> =
            (0..KEYS_MAX).map(|number| answers.turn(name(number + 9999), [1; 32], now)).collect();
        assert!(held.iter().all(|turn| matches!(turn, Turn::First(_))));
        assert!(matches!(answers.turn(name(1), [1; 32], now), Turn::Full));
    }

    #[test]
    fn keys_are_read_with_quotes_and_without() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(KEY, value.parse().expect("a value"));
            }
            key(&headers).ok()
        };
        let longest = "k".repeat(KEY_MAX);
        assert_eq!(of(&[]), Some(None));
        assert_eq!(of(&["abc"]), Some(Some("abc".into())));
        assert_eq!(of(&["\"abc\""]), Some(Some("abc".into())));
        assert_eq!(of(&[&longest]), Some(Some(longest.clone())));
        for wrong in
            [&[""][..], &["\"\""], &["a", "b"], &[&format!("{longest}k")], &["ä"], &["a b"], &["\"a"]]
        {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }
}
