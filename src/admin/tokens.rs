//! Bearer tokens: for calls over the network, where no kernel says who is calling.
//!
//! A token is durable before it is good for anything, and bad for everything the moment it is revoked: each request
//! looks here anew, also on a connection that is kept alive.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use subtle::ConstantTimeEq;
use tidegate_health::event::{Event, EventKind};
use tidegate_health::id::Name;
use tidegate_health::time::Wall;
use tokio::sync::Mutex;

use super::caller::Role;
use super::secret::{self, Hash};
use crate::clock::wall;
use crate::store::{Before, Change, Store, StoreError, TokenRecord};

/// Each is compared with what a caller shows.
pub(super) const TOKENS_MAX: usize = 256;
/// Characters of a name.
pub(super) const NAME_MAX: usize = 64;
/// The longest a token may be good for, unless it has no end at all: thirty years.
pub(super) const LENGTH_MAX: Duration = Duration::from_secs(30 * 366 * 86_400);
/// The grain of when a token was last used: finer would say more of people than anybody has to know.
const USED_GRAIN_MS: u64 = 60_000;

/// All tokens. Cheap to clone.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    store: Store,
    known: ArcSwap<Vec<Arc<Known>>>,
    /// One change at a time, and the list is what was written last.
    changing: Mutex<()>,
}

struct Known {
    record: TokenRecord,
    hash: Hash,
    /// Milliseconds since 1970, zero for never since the start. Not written down: no call waits for a disk because of it.
    used: AtomicU64,
    /// It is good for nothing any more, even if that could not be written.
    revoked: AtomicBool,
}

/// A token as it is listed.
#[derive(Clone, Debug)]
pub struct Listed {
    pub record: TokenRecord,
    /// To the minute, since the daemon's start.
    pub used: Option<Wall>,
    pub expired: bool,
}

/// What somebody's token is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Good {
        name: Name,
        role: Role,
    },
    /// It has not even the form of a token.
    Malformed,
    /// It never was one, or was revoked.
    Unknown,
    Expired {
        name: Name,
    },
}

/// Why tokens were not changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error("there is a token `{0}` already")]
    Exists(Name),
    #[error("there is no token `{0}`")]
    Missing(Name),
    #[error("there are {TOKENS_MAX} tokens, and no more are kept")]
    TooMany,
    #[error("the token could not be made durable, so there is none: {0}")]
    NotMade(StoreError),
    #[error(
        "the token is refused from now on, but that could not be made durable: a restart would bring it back: {0}"
    )]
    NotRevoked(StoreError),
    #[error("the system has no randomness")]
    NoRandomness,
}

impl Tokens {
    /// Of what the store held.
    #[must_use]
    pub fn new(store: Store, stored: Vec<TokenRecord>) -> Self {
        let known = stored.into_iter().filter_map(|record| {
            let known = Known::new(record);
            if known.is_none() {
                tracing::error!("a token in the store has no usable hash: it is left out");
            }
            known.map(Arc::new)
        });
        let known = ArcSwap::from_pointee(known.collect::<Vec<_>>());
        Self(Arc::new(Inner { store, known, changing: Mutex::default() }))
    }

    /// Judges what a caller shows.
    pub(super) fn judge(&self, shown: &str, now: Wall) -> Verdict {
        let Some(hash) = secret::read(shown) else { return Verdict::Malformed };
        let known = self.0.known.load();
        // Every one is compared, each in constant time, so that time tells nothing of what is kept.
        let mut found = None;
        for known in known.iter() {
            if bool::from(known.hash.ct_eq(&hash)) {
                found = Some(known);
            }
        }
        match found.filter(|known| !known.revoked.load(Ordering::Acquire)) {
            None => Verdict::Unknown,
            Some(known) if known.is_expired(now) => Verdict::Expired { name: known.record.name.clone() },
            Some(known) => {
                known.used.store(now.0 / USED_GRAIN_MS * USED_GRAIN_MS, Ordering::Relaxed);
                Verdict::Good { name: known.record.name.clone(), role: known.record.role }
            }
        }
    }

    /// Makes a token; its text is not kept anywhere.
    pub(super) async fn make(
        &self,
        name: Name,
        role: Role,
        length: Option<Duration>,
        by: Name,
    ) -> Result<(TokenRecord, String), TokenError> {
        let _one = self.0.changing.lock().await;
        let known = self.0.known.load_full();
        if known.iter().any(|known| known.record.name == name) {
            return Err(TokenError::Exists(name));
        }
        if known.len() >= TOKENS_MAX {
            return Err(TokenError::TooMany);
        }
        let token = secret::make().ok_or(TokenError::NoRandomness)?;
        let (made, hash) = (wall(), secret::hex(&secret::hash(&token)));
        let expires = length.map(|length| made.plus(length));
        let record = TokenRecord { name, role, hash, made, made_by: by.clone(), expires };
        let new = Known::new(record.clone()).ok_or(TokenError::NoRandomness)?;
        let mut next: Vec<_> = known.iter().filter(|known| known.is_good()).cloned().collect();
        next.push(Arc::new(new));
        let until = expires.map_or_else(String::new, |until| format!(", until {}", day(until)));
        let what = format!("token `{}` with the role {}{until}", record.name, role.label());
        self.write(&known, next, (EventKind::TokenMade, by, what)).await.map_err(TokenError::NotMade)?;
        Ok((record, token))
    }

    /// Revokes a token: it is refused from this moment on.
    pub(super) async fn revoke(&self, name: &str, by: Name) -> Result<(), TokenError> {
        // Ahead of everything: whoever revokes has reasons not to wait for a disk.
        let missing = || TokenError::Missing(name.into());
        let named = |known: &&Arc<Known>| &*known.record.name == name;
        self.0.known.load().iter().find(named).ok_or_else(missing)?.revoked.store(true, Ordering::Release);
        let _one = self.0.changing.lock().await;
        let known = self.0.known.load_full();
        if !known.iter().any(|known| &*known.record.name == name) {
            // Somebody else revoked it meanwhile.
            return Ok(());
        }
        let next = known.iter().filter(|known| known.is_good()).cloned().collect();
        let what = format!("token `{name}`");
        self.write(&known, next, (EventKind::TokenRevoked, by, what)).await.map_err(TokenError::NotRevoked)
    }

    /// Writes a list down, and then lives by it.
    async fn write(
        &self,
        known: &[Arc<Known>],
        next: Vec<Arc<Known>>,
        (kind, actor, reason): (EventKind, Name, String),
    ) -> Result<(), StoreError> {
        let records = |list: &[Arc<Known>]| Some(list.iter().map(|known| known.record.clone()).collect());
        let event = Event::new(wall(), kind, actor, reason);
        let change = Change { tokens: records(&next), event: Some(event.clone()), ..Change::default() };
        let before = Before { tokens: records(known), ..Before::default() };
        self.0.store.write(change, before).await?;
        self.0.known.store(Arc::new(next));
        crate::control::tell(&event);
        Ok(())
    }

    /// All of them, by name.
    pub(super) fn list(&self, now: Wall) -> Vec<Listed> {
        let known = self.0.known.load();
        let mut listed: Vec<_> =
            known.iter().filter(|known| known.is_good()).map(|it| it.listed(now)).collect();
        listed.sort_by(|one, other| one.record.name.cmp(&other.record.name));
        listed
    }
}

impl Known {
    fn new(record: TokenRecord) -> Option<Self> {
        let hash = secret::hash_of_hex(&record.hash)?;
        Some(Self { record, hash, used: AtomicU64::new(0), revoked: AtomicBool::new(false) })
    }

    fn is_good(&self) -> bool {
        !self.revoked.load(Ordering::Acquire)
    }

    fn is_expired(&self, now: Wall) -> bool {
        self.record.expires.is_some_and(|expires| now >= expires)
    }

    fn listed(&self, now: Wall) -> Listed {
        let used = Some(self.used.load(Ordering::Relaxed)).filter(|used| *used > 0).map(Wall);
        Listed { record: self.record.clone(), used, expired: self.is_expired(now) }
    }
}

/// The name of a token: letters and digits of ASCII, `-`, `_` and `.`, the first one a letter or a digit.
pub(super) fn is_name(name: &str) -> bool {
    let of_any = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    name.len() <= NAME_MAX
        && name.bytes().all(of_any)
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
}

fn day(at: Wall) -> String {
    let stamp = i64::try_from(at.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    stamp.map_or_else(|| at.0.to_string(), |stamp| stamp.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

#[cfg(test)]
mod tests {
    use tidegate_health::event::Class;

    use super::*;
    use crate::history::{Filter, Order};

    fn opened(folder: &std::path::Path) -> Tokens {
        // The thread of one that was just closed lets go of the file in its own time.
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            match Store::open(folder) {
                Ok((store, stored)) => return Tokens::new(store, stored.tokens),
                Err(StoreError::InUse { .. }) if std::time::Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[tokio::test]
    async fn a_token_outlives_a_restart_until_it_is_revoked_and_its_text_is_nowhere() {
        let folder = tempfile::tempdir().expect("a folder");
        let tokens = opened(folder.path());
        let (record, text) =
            tokens.make("ci".into(), Role::Operate, None, "root".into()).await.expect("made");
        let good = Verdict::Good { name: "ci".into(), role: Role::Operate };
        assert_eq!(tokens.judge(&text, wall()), good);
        assert!(matches!(
            tokens.make("ci".into(), Role::View, None, "root".into()).await,
            Err(TokenError::Exists(_))
        ));
        drop(tokens);
        let file = std::fs::read(folder.path().join("tidegate.redb")).expect("the store's file");
        let holds = |text: &str| file.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(holds(&record.hash) && !holds(&text) && !holds(&text[4..68]), "only the hash is kept");

        let tokens = opened(folder.path());
        assert_eq!(tokens.judge(&text, wall()), good);
        let listed = tokens.list(wall());
        assert_eq!(listed[0].record, record);
        assert!(listed[0].used.is_some_and(|used| used.0 % USED_GRAIN_MS == 0));
        tokens.revoke("ci", "root".into()).await.expect("revoked");
        assert_eq!(tokens.judge(&text, wall()), Verdict::Unknown);
        assert!(matches!(tokens.revoke("ci", "root".into()).await, Err(TokenError::Missing(_))));
        let history = tokens
            .0
            .store
            .history(Filter { classes: Class::ALL.into(), ..Filter::default() }, Order::NewestFirst, 10)
            .await
            .expect("a history");
        let kinds: Vec<_> = history.iter().map(|entry| entry.event.kind).collect();
        assert_eq!(kinds, [EventKind::TokenRevoked, EventKind::TokenMade]);
        assert!(
            history.iter().all(|entry| !entry.event.reason.contains(&text) && &*entry.event.actor == "root")
        );
        drop(tokens);
        assert_eq!(opened(folder.path()).judge(&text, wall()), Verdict::Unknown);
    }

    #[tokio::test]
    async fn a_token_ends_at_its_moment_and_not_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let tokens = opened(folder.path());
        let hour = Some(Duration::from_secs(3600));
        let (record, text) = tokens.make("ci".into(), Role::View, hour, "root".into()).await.expect("made");
        let end = record.expires.expect("it has an end");
        assert!(matches!(tokens.judge(&text, Wall(end.0 - 1)), Verdict::Good { .. }));
        assert_eq!(tokens.judge(&text, end), Verdict::Expired { name: "ci".into() });
        assert!(!tokens.list(Wall(end.0 - 1))[0].expired && tokens.list(end)[0].expired);
        assert_eq!(tokens.judge(&secret::make().expect("random"), end), Verdict::Unknown);
        assert_eq!(tokens.judge(&text[1..], end), Verdict::Malformed);
    }

    #[tokio::test]
    async fn there_are_no_more_tokens_than_allowed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, _) = Store::open(folder.path()).expect("a store");
        let record = |number: usize| TokenRecord {
            name: format!("t{number}").into(),
            role: Role::View,
            hash: "0".repeat(64),
            made: Wall(0),
            made_by: "root".into(),
            expires: None,
        };
        let tokens = Tokens::new(store, (1..TOKENS_MAX).map(record).collect());
        tokens.make("last".into(), Role::View, None, "root".into()).await.expect("there is room for one");
        let refused = tokens.make("beyond".into(), Role::View, None, "root".into()).await;
        assert!(matches!(refused, Err(TokenError::TooMany)));
        tokens.revoke("t1", "root".into()).await.expect("revoked");
        tokens.make("beyond".into(), Role::View, None, "root".into()).await.expect("there is room again");
    }

    #[test]
    fn names_are_what_a_path_and_a_terminal_can_take() {
        let longest = "a".repeat(NAME_MAX);
        for name in ["a", "ci-1", "A.b_c", "9", &longest] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-a", ".", "a b", "ä", "a/b", "a\n", &format!("{longest}a")] {
            assert!(!is_name(name), "{name}");
        }
    }
}
