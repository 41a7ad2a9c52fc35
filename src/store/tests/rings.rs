//! The rings of the history: their bounds, their order, and stores of an older version.

use std::time::Duration;

use proptest::prelude::*;
use redb::TableDefinition;
use tidegate_health::event::Class;

use super::*;
use crate::store::rings;

const BOUNDS: Bounds =
    Bounds { decisions_max: 5, notes_max: 4, observations_max: 3, max_age: Duration::from_secs(100) };

fn store() -> (tempfile::TempDir, Database) {
    let folder = tempfile::tempdir().expect("a folder");
    let database = file::open(&folder.path().join("tidegate.redb")).expect("a new store");
    (folder, database)
}

fn records(kinds: &[EventKind], at: u64) -> Change {
    let records = (at..).zip(kinds).map(|(at, kind)| event(*kind, at)).collect();
    Change { records, ..Change::default() }
}

fn all() -> Filter {
    Filter { classes: Class::ALL.into(), ..Filter::default() }
}

fn times(database: &Database, filter: &Filter, order: Order, limit: usize) -> Vec<u64> {
    let entries = rings::page(database, filter, order, limit).expect("readable");
    entries.iter().map(|entry| entry.event.at.0).collect()
}

#[test]
fn each_class_has_its_own_bound_and_none_displaces_another() {
    use EventKind::{Origin, Refused, Switchover};
    let (_folder, database) = store();
    for at in 0..50 {
        file::write(&database, &records(&[Switchover, Refused, Origin, Origin], at * 10), &BOUNDS)
            .expect("written");
    }
    let count = |class| {
        let filter = Filter { classes: [class].into(), ..Filter::default() };
        times(&database, &filter, Order::OldestFirst, 100).len()
    };
    assert_eq!(Class::ALL.map(count), [5, 4, 3]);
    // A flood of what was seen leaves what was done alone.
    file::write(&database, &records(&[Origin; 500], 1_000), &BOUNDS).expect("written");
    assert_eq!(Class::ALL.map(count), [5, 4, 3]);
    let newest = times(&database, &all(), Order::NewestFirst, 3);
    assert_eq!(newest, [1_499, 1_498, 1_497]);
}

#[test]
fn pages_join_without_a_gap_in_both_directions_whatever_is_added_meanwhile() {
    use EventKind::{Origin, Refused, Switchover};
    let (_folder, database) = store();
    let bounds = Bounds::default();
    let kinds = [Switchover, Origin, Refused, Origin, Origin, Switchover, Refused];
    file::write(&database, &records(&kinds, 0), &bounds).expect("written");
    let (mut down, mut filter) = (Vec::new(), all());
    loop {
        let page = rings::page(&database, &filter, Order::NewestFirst, 2).expect("readable");
        let Some(last) = page.last() else { break };
        filter.before = Some(last.id);
        down.extend(page.iter().map(|entry| entry.event.at.0));
        file::write(&database, &records(&[Switchover], 100), &bounds).expect("written");
    }
    assert_eq!(down, [6, 5, 4, 3, 2, 1, 0]);
    let (mut up, mut filter) = (Vec::new(), all());
    loop {
        let page = rings::page(&database, &filter, Order::OldestFirst, 3).expect("readable");
        let Some(last) = page.last() else { break };
        filter.after = Some(last.id);
        up.extend(page.iter().map(|entry| entry.event.at.0));
    }
    assert_eq!(up, [0, 1, 2, 3, 4, 5, 6, 100, 100, 100, 100]);
}

#[test]
fn a_number_is_never_used_twice() {
    let (_folder, database) = store();
    let before = Before { groups: vec![("app".into(), durable("main", 1))], ..Before::default() };
    let write = |change: &Change| file::write(&database, change, &BOUNDS).expect("written");
    let last =
        || rings::page(&database, &all(), Order::NewestFirst, 1).expect("readable").first().map(|it| it.id);
    write(&change("main", 1));
    let first = last();
    write(&change("dr", 2));
    let second = last();
    file::take_back(&database, &change("dr", 2), &before).expect("written");
    assert_eq!(last(), first);
    write(&change("dr", 3));
    assert!(last() > second && second > first);
}

#[test]
fn what_is_too_old_goes_a_bounded_part_at_a_time() {
    let (_folder, database) = store();
    let bounds = Bounds { observations_max: 1_000, ..BOUNDS };
    file::write(&database, &records(&[EventKind::Origin; 200], 1_000), &bounds).expect("written");
    file::write(&database, &change("main", 50_000), &bounds).expect("written");
    let left = || times(&database, &all(), Order::OldestFirst, 1_000).len();
    let trim = |now| rings::trim(&database, &bounds, Wall(now)).expect("written");
    // Exactly as old as may be.
    trim(101_000);
    assert_eq!(left(), 201);
    trim(101_001);
    assert_eq!(left(), 200);
    // The clock jumped ahead for a moment: not all is lost with it.
    trim(u64::MAX);
    assert_eq!(left(), 200 - 64 - 1);
    (0..3).for_each(|_| trim(101_300));
    assert_eq!(left(), 0);
}

#[test]
fn a_lowered_bound_is_reached_by_and_by() {
    let (_folder, database) = store();
    file::write(&database, &records(&[EventKind::Origin; 300], 0), &Bounds::default()).expect("written");
    let left = || times(&database, &all(), Order::OldestFirst, 1_000).len();
    file::write(&database, &records(&[EventKind::Origin], 300), &BOUNDS).expect("written");
    assert_eq!(left(), 301 - 65);
    (0..4).for_each(|_| rings::trim(&database, &BOUNDS, Wall(300)).expect("written"));
    assert_eq!(left(), 3);
}

/// As the version wrote it that had two rings, each with numbers of its own.
fn old_store(path: &Path) {
    const RECORD: &str =
        r#"{"at":AT,"group":"app","kind":"KIND","actor":"naomi","reason":"because","epoch":1}"#;
    let database = Database::create(path).expect("a file");
    let transaction = database.begin_write().expect("a transaction");
    for (ring, kind, ats) in [("history", "switchover", [10, 40, 50]), ("notes", "refused", [20, 30, 60])] {
        let mut table = transaction.open_table(TableDefinition::<u64, &[u8]>::new(ring)).expect("a table");
        for (number, at) in (0..).zip(ats) {
            let record = RECORD.replace("AT", &at.to_string()).replace("KIND", kind);
            table.insert(number, record.as_bytes()).expect("inserted");
        }
    }
    for name in ["groups", "zones", "forces"] {
        transaction.open_table(TableDefinition::<&str, &[u8]>::new(name)).expect("a table");
    }
    let decision = r#"{"decision":{"site":"dr","epoch":3,"kind":"failover","since":50,"actor":"tidegate","reason":"lost"},"latched":["main"]}"#;
    transaction
        .open_table(TableDefinition::<&str, &[u8]>::new("groups"))
        .expect("a table")
        .insert("app", decision.as_bytes())
        .expect("inserted");
    transaction.open_table(file::META).expect("a table").insert("schema", 1).expect("inserted");
    transaction.commit().expect("committed");
}

#[test]
fn a_store_of_the_version_before_opens_and_its_history_is_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.redb");
    old_store(&path);
    for _ in 0..2 {
        let database = file::open(&path).expect("it opens");
        let group = &file::load(&database).expect("readable").groups["app"];
        assert_eq!((group.epoch(), group.latched.len()), (3, 1));
        assert_eq!(times(&database, &all(), Order::OldestFirst, 10), [10, 20, 30, 40, 50, 60]);
    }
    let database = file::open(&path).expect("it opens");
    file::write(&database, &records(&[EventKind::Origin], 5), &Bounds::default()).expect("written");
    assert_eq!(times(&database, &all(), Order::NewestFirst, 2), [5, 60], "what is new comes last");
}

#[test]
fn a_version_before_that_goes_on_in_between_breaks_nothing() {
    let (_folder, database) = store();
    file::write(&database, &records(&[EventKind::Refused, EventKind::Switchover], 0), &BOUNDS)
        .expect("written");
    // It numbers each ring for itself.
    let transaction = database.begin_write().expect("a transaction");
    for (ring, number) in [("history", 2), ("history", 3), ("notes", 1)] {
        let record = encode(&event(EventKind::Switchover, 10 + number));
        let mut table = transaction.open_table(TableDefinition::<u64, &[u8]>::new(ring)).expect("a table");
        table.insert(number, record.as_slice()).expect("inserted");
    }
    transaction.commit().expect("committed");
    file::write(&database, &records(&[EventKind::Refused], 100), &BOUNDS).expect("written");
    let entries = rings::page(&database, &all(), Order::OldestFirst, 10).expect("readable");
    assert_eq!(entries.len(), 6);
    assert!(entries.is_sorted_by(|one, next| one.id < next.id), "each id once: {entries:?}");
    assert_eq!(entries[5].event.at, Wall(100));
}

fn encode(event: &Event) -> Vec<u8> {
    serde_json::to_vec(event).expect("plain")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Pages of any size are what a reader of everything sees, cut into pieces.
    #[test]
    fn pages_are_pieces_of_the_whole(
        kinds in proptest::collection::vec(0..3_usize, 1..40),
        size in 1..7_usize,
        from in 0..200_u64,
        to in 0..200_u64,
    ) {
        let (_folder, database) = store();
        let kinds: Vec<_> =
            kinds.iter().map(|n| [EventKind::Switchover, EventKind::Refused, EventKind::Origin][*n]).collect();
        file::write(&database, &records(&kinds, 0), &Bounds::default()).expect("written");
        let whole = rings::page(&database, &all(), Order::OldestFirst, 1_000).expect("readable");
        prop_assert_eq!(whole.len(), kinds.len());
        let wanted: Vec<_> = whole.iter().filter(|entry| entry.id > from && entry.id < to).cloned().collect();
        let cut = Filter { after: Some(from), before: Some(to), ..all() };
        let up = rings::page(&database, &cut, Order::OldestFirst, 1_000).expect("readable");
        prop_assert_eq!(&up, &wanted);
        let (mut down, mut filter) = (Vec::new(), cut);
        loop {
            let page = rings::page(&database, &filter, Order::NewestFirst, size).expect("readable");
            let Some(last) = page.last() else { break };
            filter.before = Some(last.id);
            down.extend(page);
        }
        down.reverse();
        prop_assert_eq!(&down, &wanted);
    }
}
