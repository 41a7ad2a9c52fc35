//! The deadline of writes, against a disk that answers when the test lets it.

use std::io;
use std::sync::Condvar;

use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::*;

/// A disk whose syncs wait while it is stalled, and that outlives the database on it.
#[derive(Clone, Debug, Default)]
struct Disk {
    memory: Arc<InMemoryBackend>,
    stalled: Arc<(Mutex<bool>, Condvar)>,
}

impl Disk {
    fn stall(&self, stalled: bool) {
        *self.stalled.0.lock().unwrap() = stalled;
        self.stalled.1.notify_all();
    }

    /// A store whose thread works on this disk.
    fn open(&self) -> Store {
        let database = self.database();
        file::prepare(&database).unwrap();
        Store::start(PathBuf::new(), database).unwrap()
    }

    fn database(&self) -> Database {
        Database::builder().create_with_backend(self.clone()).unwrap()
    }

    /// Ends the store, and looks at what a restart would find: the site, and how many entries the history has.
    fn restart(&self, store: Store) -> (Option<Name>, usize) {
        let Store { jobs, database, thread, .. } = store;
        drop((jobs, database));
        Arc::into_inner(thread).expect("the only handle").join().unwrap();
        let database = self.database();
        let stored = file::load(&database).unwrap();
        let site =
            stored.groups.get("app").and_then(|found| found.decision.as_ref()).map(|it| it.site.clone());
        (site, told(&database, 100, None).len())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.memory.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let stalled = self.stalled.0.lock().unwrap();
        drop(self.stalled.1.wait_while(stalled, |stalled| *stalled).unwrap());
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.memory.write(offset, data)
    }
}

fn before() -> Before {
    Before { groups: vec![("app".into(), durable("main", 1))], ..Before::default() }
}

#[tokio::test]
async fn a_write_that_comes_too_late_is_taken_back() {
    let disk = Disk::default();
    let store = disk.open();
    store.write(change("main", 1), Before::default()).await.unwrap();

    disk.stall(true);
    let begun = std::time::Instant::now();
    // The first is at the disk, the second waits behind it: neither is done, and nobody waits for ever.
    let (first, second) =
        tokio::join!(store.write(change("dr", 2), before()), store.write(change("third", 3), before()));
    assert!(matches!(first, Err(StoreError::Stalled)), "{first:?}");
    assert!(matches!(second, Err(StoreError::Stalled)), "{second:?}");
    assert!(begun.elapsed() < 3 * DEADLINE, "{:?}", begun.elapsed());
    let history =
        store.history(everything(), Order::NewestFirst, 10).await.expect("reading waits for no writer");
    assert_eq!(history.len(), 1, "what is not durable is not told");

    disk.stall(false);
    assert_eq!(disk.restart(store), (Some("main".into()), 1), "the file says what readers were told");
}

#[tokio::test]
async fn after_a_stall_writes_go_on() {
    let disk = Disk::default();
    let store = disk.open();
    store.write(change("main", 1), Before::default()).await.unwrap();
    disk.stall(true);
    store.write(change("dr", 2), before()).await.unwrap_err();
    disk.stall(false);
    store.write(change("third", 3), before()).await.unwrap();
    assert!(store.is_alive());
    assert_eq!(disk.restart(store), (Some("third".into()), 2));
}

#[tokio::test]
async fn a_stalled_disk_does_not_gather_writes_without_bound() {
    let disk = Disk::default();
    let store = disk.open();
    disk.stall(true);
    let mut asked = tokio::task::JoinSet::new();
    for epoch in 0..2 * QUEUE_MAX as u64 {
        let store = store.clone();
        asked.spawn(async move { store.write(change("dr", epoch), Before::default()).await });
    }
    let mut full = 0;
    while let Some(outcome) = asked.join_next().await {
        match outcome.unwrap() {
            Err(StoreError::Full) => full += 1,
            Err(StoreError::Stalled) => {}
            other => panic!("{other:?}"),
        }
    }
    // One may be at the disk beside those in the queue.
    assert!((QUEUE_MAX - 1..=QUEUE_MAX).contains(&full), "{full} were refused");
    disk.stall(false);
    disk.restart(store);
}

/// The disk is faster than the deadline, and its answer is no.
#[tokio::test]
async fn a_failure_in_the_last_moment_is_no_success() {
    let disk = Disk::default();
    let (jobs, queue) = mpsc::sync_channel(1);
    let store = Store { jobs, ..disk.open() };
    let thread = std::thread::spawn(move || {
        let Job { fate, done, .. }: Job = queue.recv().expect("a write was asked for");
        assert!(fate.end());
        // The asker's deadline passes between the disk's word and its answer.
        std::thread::sleep(DEADLINE + Duration::from_millis(300));
        let failed = redb::Error::Io(io::Error::other("no room"));
        done.send(Err(StoreError::Io(Box::new(failed)))).unwrap();
    });
    let outcome = store.write(change("dr", 2), before()).await;
    assert!(matches!(outcome, Err(StoreError::Io(_))), "{outcome:?}");
    thread.join().unwrap();
}

fn everything() -> Filter {
    Filter { classes: tidegate_health::event::Class::ALL.into(), ..Filter::default() }
}
