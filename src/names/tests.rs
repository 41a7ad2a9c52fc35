//! The ledger: what answers do to what is known, and when a name is asked for again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use tidegate_config::{NamedOrigin, Resolver};
use tidegate_health::id::Name;
use tidegate_health::time::Wall;
use tokio::time::Instant;

use super::ask::{Answer, Answers};
use super::ledger::{Alarm, Ledger, News};
use super::{NameRecord, NameState, difference};

const MAX: usize = NamedOrigin::ADDRESSES_MAX;

/// A ledger of one name, at a time that the test tells.
struct Book {
    ledger: Ledger,
    start: Instant,
    at: Duration,
}

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn name() -> Name {
    "app.example".into()
}

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|text| text.parse().expect("an address")).collect()
}

fn found(list: &[&str], ttl: u64) -> Answer {
    Answer::Addresses { addresses: ips(list), ttl: secs(ttl) }
}

fn nothing() -> Answer {
    Answer::Nothing { exists: true }
}

fn failed() -> Answer {
    Answer::Failed("the resolver answers SERVFAIL".into())
}

impl Book {
    fn new(record: Option<&NameRecord>) -> Self {
        let settings = Resolver { ttl_min: secs(5), ttl_max: secs(3600), ..Resolver::default() };
        let (mut ledger, start) = (Ledger::new(&settings), Instant::now());
        ledger.learn(&name(), record, start);
        Self { ledger, start, at: Duration::ZERO }
    }

    /// Waits until the name is due, and answers.
    fn answer(&mut self, v4: Answer, v6: Answer) -> News {
        self.at += self.wait();
        let now = self.start + self.at;
        assert_eq!(self.ledger.ask(now), Some(name()), "it is due");
        assert_eq!(self.ledger.ask(now), None, "it is not asked for twice at a time");
        let wall = Wall(u64::try_from(self.at.as_millis()).expect("a short test"));
        self.ledger.take(&name(), [v4, v6], (now, wall), 0.0)
    }

    /// Until it is asked for again.
    fn wait(&self) -> Duration {
        let due = self.ledger.next_due().expect("there is a name");
        due.saturating_duration_since(self.start + self.at)
    }

    fn addresses(&self) -> Vec<String> {
        self.ledger.addresses()[&name()].iter().map(ToString::to_string).collect()
    }

    fn state(&self) -> NameState {
        self.ledger.status()[0].state
    }
}

#[test]
fn addresses_of_both_families_are_taken_in_an_order_of_their_own() {
    let mut book = Book::new(None);
    assert_eq!(book.state(), NameState::Unresolved);
    let news = book.answer(found(&["192.0.2.9", "192.0.2.1", "192.0.2.9"], 30), found(&["2001:db8::1"], 60));
    assert_eq!(news, News { addresses: true, alarm: None });
    assert_eq!(book.addresses(), ["192.0.2.1", "192.0.2.9", "2001:db8::1"]);
    let news = book.answer(found(&["192.0.2.1", "192.0.2.9"], 30), found(&["2001:db8::1"], 60));
    assert_eq!(news, News::default(), "another order is no other answer");
    assert_eq!(book.state(), NameState::Resolved);
}

#[test]
fn a_ttl_counts_within_its_bounds() {
    for (v4, v6, wait) in [(0, 9000, 5), (5, 6, 5), (6, 7, 6), (3600, 3600, 3600), (3601, 4000, 3600)] {
        let mut book = Book::new(None);
        book.answer(found(&["192.0.2.1"], v4), found(&["2001:db8::1"], v6));
        assert_eq!(book.wait(), secs(wait), "{v4} {v6}");
    }
}

#[test]
fn what_is_learnt_together_is_not_asked_for_together_for_ever() {
    let mut book = Book::new(None);
    let answers = [found(&["192.0.2.1"], 100), nothing()];
    book.ledger.take(&name(), answers, (book.start, Wall(0)), 0.999);
    assert!(book.wait() > secs(109) && book.wait() < secs(110), "{:?}", book.wait());
}

#[test]
fn a_new_address_counts_at_once_and_one_that_is_missing_twice_is_gone() {
    let mut book = Book::new(None);
    book.answer(found(&["192.0.2.1", "192.0.2.2"], 60), nothing());
    let news = book.answer(found(&["192.0.2.2", "192.0.2.3"], 60), nothing());
    assert!(news.addresses);
    assert_eq!(book.addresses(), ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    assert_eq!(book.wait(), secs(5), "what seems to be gone is asked for again soon");
    assert!(book.answer(found(&["192.0.2.2", "192.0.2.3"], 60), nothing()).addresses);
    assert_eq!(book.addresses(), ["192.0.2.2", "192.0.2.3"]);
    assert_eq!(book.wait(), secs(60));
}

#[test]
fn one_answer_that_lacks_an_address_is_forgotten_with_the_next_that_has_it() {
    let mut book = Book::new(None);
    let both = || found(&["192.0.2.1", "192.0.2.2"], 60);
    book.answer(both(), nothing());
    for _ in 0..5 {
        assert_eq!(book.answer(found(&["192.0.2.1"], 60), nothing()), News::default());
        assert_eq!(book.answer(both(), nothing()), News::default());
    }
}

#[test]
fn no_answer_takes_the_last_good_addresses_away() {
    let gone = || Answer::Nothing { exists: false };
    for (v4, v6, why) in [
        (failed(), failed(), "the resolver answers SERVFAIL"),
        (gone(), gone(), "it does not exist"),
        (nothing(), nothing(), "it has no address"),
        (nothing(), failed(), "the resolver answers SERVFAIL"),
        (found(&["0.0.0.0", "224.0.0.1"], 60), nothing(), "nothing can be reached at 2 of its addresses"),
    ] {
        let mut book = Book::new(None);
        book.answer(found(&["192.0.2.1"], 60), nothing());
        for count in 1..100 {
            let news = book.answer(v4.clone(), v6.clone());
            assert_eq!((news.addresses, news.alarm.is_some()), (false, count == 3), "{why}, {count}");
            assert_eq!((book.addresses(), book.state()), (vec!["192.0.2.1".into()], NameState::Failing));
        }
        assert_eq!(book.ledger.status()[0].failure.as_deref(), Some(why));
        let news = book.answer(found(&["192.0.2.1"], 60), nothing());
        assert!(matches!(news.alarm, Some(Alarm::Ended(_))), "{news:?}");
        assert_eq!(book.state(), NameState::Resolved);
    }
}

#[test]
fn a_family_that_cannot_be_asked_for_keeps_its_addresses_and_is_only_missed_where_it_has_some() {
    let mut book = Book::new(None);
    book.answer(found(&["192.0.2.1"], 60), failed());
    assert_eq!(book.state(), NameState::Resolved, "nobody misses what there never was");
    book.answer(found(&["192.0.2.1"], 60), found(&["2001:db8::1"], 60));
    for _ in 0..5 {
        book.answer(found(&["192.0.2.1"], 60), failed());
    }
    assert_eq!(book.addresses(), ["192.0.2.1", "2001:db8::1"]);
    assert_eq!(book.state(), NameState::Failing);
}

#[test]
fn failures_are_asked_again_more_and_more_rarely_up_to_a_minute() {
    let mut book = Book::new(None);
    let waits: Vec<_> = (0..8).map(|_| (book.answer(failed(), failed()), book.wait().as_secs()).1).collect();
    assert_eq!(waits, [5, 10, 20, 40, 60, 60, 60, 60]);
    for _ in 0..200 {
        book.answer(failed(), failed());
    }
    assert_eq!(book.wait(), secs(60));
}

#[test]
fn a_name_without_any_address_is_an_alarm_at_once() {
    let mut book = Book::new(None);
    let news = book.answer(failed(), failed());
    let Some(Alarm::Began(text)) = news.alarm else { panic!("{news:?}") };
    assert!(text.contains("stands for no origin"), "{text}");
    assert!(book.answer(failed(), failed()).alarm.is_none(), "it is told once");
    let news = book.answer(found(&["192.0.2.1"], 60), nothing());
    assert!(news.addresses && matches!(news.alarm, Some(Alarm::Ended(_))));
}

#[test]
fn addresses_of_an_earlier_run_hold_until_there_is_an_answer_and_it_is_said() {
    let record = NameRecord { addresses: ips(&["192.0.2.1", "2001:db8::1"]), at: Wall(7) };
    let mut book = Book::new(Some(&record));
    let news = book.answer(failed(), failed());
    let Some(Alarm::Began(text)) = news.alarm else { panic!("{news:?}") };
    assert!(text.contains("of an earlier run: 192.0.2.1, 2001:db8::1"), "{text}");
    assert_eq!(book.addresses(), ["192.0.2.1", "2001:db8::1"]);
    assert_eq!(book.ledger.records(), BTreeMap::from([(name(), record)]), "they are as old as they were");
    book.answer(found(&["192.0.2.7"], 60), nothing());
    book.answer(found(&["192.0.2.7"], 60), nothing());
    assert_eq!(book.addresses(), ["192.0.2.7"]);
}

#[test]
fn more_addresses_than_the_bound_are_cut_in_their_order_and_it_is_said() {
    let many = |count: usize| {
        let addresses: Vec<String> = (0..count).rev().map(|n| format!("192.0.2.{n}")).collect();
        found(&addresses.iter().map(String::as_str).collect::<Vec<_>>(), 60)
    };
    let mut book = Book::new(None);
    book.answer(many(MAX), nothing());
    assert_eq!((book.addresses().len(), book.ledger.status()[0].concerns.len()), (MAX, 0));
    let mut book = Book::new(None);
    book.answer(many(MAX + 1), nothing());
    assert_eq!(book.addresses().len(), MAX);
    assert_eq!(book.addresses()[0], "192.0.2.0");
    let concerns = &book.ledger.status()[0].concerns;
    assert_eq!(concerns.len(), 1);
    assert!(concerns[0].starts_with("it has 65 addresses; only the first 64"), "{concerns:?}");
    assert_eq!(book.state(), NameState::Resolved);
    let mut book = Book::new(None);
    book.answer(many(MAX), found(&["2001:db8::1"], 60));
    assert_eq!((book.addresses().len(), book.ledger.status()[0].concerns.len()), (MAX, 1));
}

#[test]
fn answers_about_names_that_a_reload_took_away_change_nothing() {
    let mut book = Book::new(None);
    book.ledger.retain(&BTreeSet::new());
    let news = book.ledger.take(&name(), [failed(), failed()], (book.start, Wall(0)), 0.0);
    assert_eq!(news, News::default());
    assert_eq!(book.ledger.next_due(), None);
}

#[test]
fn what_came_and_went_is_told_in_a_sentence() {
    let table = |name: &str, list: &[&str]| (Name::from(name), ips(list));
    let old = BTreeMap::from([table("a.example", &["192.0.2.1", "192.0.2.2"]), table("b.example", &[])]);
    let new = BTreeMap::from([
        table("a.example", &["192.0.2.2", "2001:db8::1"]),
        table("b.example", &["192.0.2.9"]),
    ]);
    assert_eq!(
        difference(&old, &new),
        "a.example: 2001:db8::1 new; 192.0.2.1 gone. b.example: 192.0.2.9 new"
    );
}

fn any_answer() -> impl Strategy<Value = Answer> {
    let address = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from),
        (0..4_u8).prop_map(|n| IpAddr::from([192, 0, 2, n])),
    ];
    prop_oneof![
        (proptest::collection::vec(address, 1..200), any::<u32>())
            .prop_map(|(addresses, ttl)| Answer::Addresses { addresses, ttl: secs(ttl.into()) }),
        any::<bool>().prop_map(|exists| Answer::Nothing { exists }),
        Just(failed()),
    ]
}

proptest! {
    /// Whatever a resolver says: never more than the bound, never unsorted, never fewer than one once there was one, and
    /// always asked for again in time.
    #[test]
    fn no_sequence_of_answers_breaks_what_is_promised(
        answers in proptest::collection::vec((any_answer(), any_answer()), 1..40),
    ) {
        let (mut book, mut had_some) = (Book::new(None), false);
        for (v4, v6) in answers {
            let answers: Answers = [v4, v6];
            let [v4, v6] = answers;
            book.answer(v4, v6);
            let addresses = &book.ledger.addresses()[&name()];
            prop_assert!(addresses.len() <= MAX);
            prop_assert!(addresses.iter().all(|address| !address.is_unspecified() && !address.is_multicast()));
            prop_assert!(addresses.iter().collect::<BTreeSet<_>>().len() == addresses.len());
            prop_assert!(!had_some || !addresses.is_empty());
            had_some |= !addresses.is_empty();
            prop_assert!(book.wait() >= secs(5) && book.wait() <= secs(3600));
        }
    }
}
