//! The last word on late and failed writes, and the rings of the history.

mod rings;
mod stalls;

use tidegate_health::durable::{Decision, SwitchKind};
use tidegate_health::event::EventKind;
use tidegate_health::force::{ForceKind, Scope, Selector};
use tidegate_health::time::Wall;

use super::*;
use crate::history;

fn durable(site: &str, epoch: u64) -> Durable {
    let (actor, reason) = (Name::from("naomi"), Name::from("because"));
    let site = site.into();
    let decision = Decision {
        site,
        epoch,
        kind: SwitchKind::Switchover,
        since: Wall(epoch),
        actor,
        reason,
        chain: Vec::new(),
    };
    Durable { decision: Some(decision), ..Durable::default() }
}

fn event(kind: EventKind, at: u64) -> Event {
    let event = Event::new(Wall(at), kind, "naomi".into(), format!("event {at}"));
    Event { group: Some("app".into()), ..event }
}

fn change(site: &str, epoch: u64) -> Change {
    let event = Some(event(EventKind::Switchover, epoch));
    Change { groups: vec![("app".into(), durable(site, epoch))], event, ..Change::default() }
}

/// A worker on a file of its own, without a thread: the test says when it works.
fn worker(folder: &Path) -> Worker {
    let path = folder.join("tidegate.redb");
    let database = file::open(&path).expect("a new store");
    Worker::new(path, Arc::new(Mutex::new(Some(Arc::new(database)))), Arc::default())
}

fn write(database: &Database, change: &Change) -> Result<(), StoreError> {
    file::write(database, change, &Bounds::default())
}

/// What was done and noticed, the newest first.
fn told(database: &Database, limit: usize, group: Option<&str>) -> Vec<Event> {
    let query = history::Query { group: group.map(str::to_owned), ..history::Query::default() };
    let filter = query.filter(Wall(0)).expect("a filter");
    let entries = super::rings::page(database, &filter, Order::NewestFirst, limit).expect("readable");
    entries.into_iter().map(|entry| entry.event).collect()
}

fn job(change: Change, before: Durable) -> (Job, Arc<Fate>, oneshot::Receiver<Result<(), StoreError>>) {
    let fate = Arc::new(Fate::default());
    let (done, answer) = oneshot::channel();
    let before = Before { groups: vec![("app".into(), before)], ..Before::default() };
    (Job { change, before, fate: fate.clone(), done }, fate, answer)
}

#[test]
fn a_write_in_time_is_kept_and_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let worker = worker(folder.path());
    let (job, _, mut answer) = job(change("dr", 2), durable("main", 1));
    worker.work(job);
    assert!(matches!(answer.try_recv(), Ok(Ok(()))));
    let database = worker.database();
    assert_eq!(file::load(&database).expect("readable").groups["app"], durable("dr", 2));
    assert_eq!(told(&database, 10, None).len(), 1);
}

#[test]
fn a_write_given_up_before_it_began_is_not_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let worker = worker(folder.path());
    let (job, fate, mut answer) = job(change("dr", 2), durable("main", 1));
    assert!(fate.give_up());
    worker.work(job);
    assert!(answer.try_recv().is_err(), "nobody waits for it");
    assert!(file::load(&worker.database()).expect("readable").groups.is_empty());
}

#[test]
fn what_is_taken_back_leaves_neither_the_decision_nor_its_entry() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = file::open(&folder.path().join("tidegate.redb")).expect("a new store");
    write(&database, &change("main", 1)).expect("written");
    write(&database, &change("dr", 2)).expect("written");
    let before = Before { groups: vec![("app".into(), durable("main", 1))], ..Before::default() };
    file::take_back(&database, &change("dr", 2), &before).expect("written");
    assert_eq!(file::load(&database).expect("readable").groups["app"], durable("main", 1));
    let history = told(&database, 10, None);
    assert_eq!(history, [event(EventKind::Switchover, 1)]);
    // Where the change never reached the disk there is nothing of it to remove.
    file::take_back(&database, &change("dr", 2), &before).expect("written");
    assert_eq!(told(&database, 10, None).len(), 1);
}

#[test]
fn forces_are_written_as_a_whole_and_taken_back_as_a_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = file::open(&folder.path().join("tidegate.redb")).expect("a new store");
    let force = |pattern: &str| Force {
        selector: Selector { scope: Scope::Host, pattern: pattern.into() },
        kind: ForceKind::Drain,
        since: Wall(1),
        until: Some(Wall(2)),
        actor: "naomi".into(),
        reason: "new disks".into(),
    };
    let forces = |patterns: &[&str]| patterns.iter().map(|pattern| force(pattern)).collect::<Vec<_>>();
    let change = |patterns: &[&str]| Change { forces: Some(forces(patterns)), ..Change::default() };
    assert_eq!(file::load(&database).expect("readable").forces, []);
    write(&database, &change(&["a", "b"])).expect("written");
    write(&database, &change(&["b"])).expect("written");
    assert_eq!(file::load(&database).expect("readable").forces, forces(&["b"]));
    let before = Before { forces: Some(forces(&["a", "b"])), ..Before::default() };
    file::take_back(&database, &change(&["b"]), &before).expect("written");
    assert_eq!(file::load(&database).expect("readable").forces, forces(&["a", "b"]));
    write(&database, &Change::default()).expect("written");
    assert_eq!(file::load(&database).expect("readable").forces.len(), 2, "what says nothing changes nothing");
}

#[test]
fn a_flood_of_notes_displaces_no_decision() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = file::open(&folder.path().join("tidegate.redb")).expect("a new store");
    write(&database, &change("main", 1)).expect("written");
    let entries: u64 = 40;
    for at in 2..2 + entries {
        let note = Change { event: Some(event(EventKind::Refused, at)), ..Change::default() };
        write(&database, &note).expect("written");
    }
    let history = told(&database, 10_000, Some("app"));
    assert_eq!(history.len() as u64, entries + 1);
    assert!(history.is_sorted_by_key(|event| std::cmp::Reverse(event.at)), "newest first");
    assert_eq!(history.last().map(|event| event.kind), Some(EventKind::Switchover));
    assert_eq!(told(&database, 3, None).len(), 3);
    assert!(told(&database, 3, Some("other")).is_empty());
}

#[test]
fn an_empty_file_is_no_new_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.redb");
    std::fs::write(&path, b"").expect("written");
    assert!(matches!(Store::open(folder.path()), Err(StoreError::Empty { .. })));
    assert_eq!(std::fs::metadata(&path).expect("it is still there").len(), 0);
}

#[test]
fn the_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    drop(Store::open(folder.path()).expect("a new store"));
    let mode =
        std::fs::metadata(folder.path().join("tidegate.redb")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
