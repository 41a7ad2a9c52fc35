//! The deadline of writes, against a disk that answers when the test lets it.

use std::io;
use std::sync::{Condvar, Mutex};
use std::thread::JoinHandle;

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
    fn open(&self) -> (Store, JoinHandle<()>) {
        let database = self.database();
        prepare(&database).unwrap();
        let (jobs, queue) = mpsc::sync_channel(QUEUE_MAX);
        let worker = Worker { path: PathBuf::new(), database: Some(database) };
        (Store { jobs }, std::thread::spawn(move || worker.run(&queue)))
    }

    fn database(&self) -> Database {
        Database::builder().create_with_backend(self.clone()).unwrap()
    }

    /// What a restart would find.
    fn serial(&self) -> Option<u32> {
        load(&self.database()).unwrap().zones.get(ZONE).map(|record| record.serial)
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

const ZONE: &str = "example.test";

fn change(serial: u32) -> Change {
    Change { zones: vec![(ZONE.into(), ZoneRecord { serial, content: 0 })], ..Change::default() }
}

#[tokio::test]
async fn a_write_that_comes_too_late_is_taken_back() {
    let disk = Disk::default();
    let (store, thread) = disk.open();
    store.write(change(1), Change::default()).await.unwrap();

    disk.stall(true);
    let begun = std::time::Instant::now();
    // The first is at the disk, the second waits behind it: neither is done, and nobody waits for ever.
    let (first, second) = tokio::join!(store.write(change(2), change(1)), store.write(change(3), change(1)));
    assert!(matches!(first, Err(StoreError::Stalled)), "{first:?}");
    assert!(matches!(second, Err(StoreError::Stalled)), "{second:?}");
    assert!(matches!(store.history(1, None).await, Err(StoreError::Stalled)));
    assert!(begun.elapsed() < 3 * DEADLINE, "{:?}", begun.elapsed());

    disk.stall(false);
    drop(store);
    thread.join().unwrap();
    assert_eq!(disk.serial(), Some(1), "the file says what readers were told");
}

#[tokio::test]
async fn after_a_stall_writes_go_on() {
    let disk = Disk::default();
    let (store, thread) = disk.open();
    store.write(change(1), Change::default()).await.unwrap();
    disk.stall(true);
    store.write(change(2), change(1)).await.unwrap_err();
    disk.stall(false);
    store.write(change(3), change(1)).await.unwrap();
    drop(store);
    thread.join().unwrap();
    assert_eq!(disk.serial(), Some(3));
}

#[tokio::test]
async fn a_stalled_disk_does_not_gather_writes_without_bound() {
    let disk = Disk::default();
    let (store, thread) = disk.open();
    disk.stall(true);
    let asked: Vec<_> = (0..2 * QUEUE_MAX as u32)
        .map(|serial| {
            let store = store.clone();
            tokio::spawn(async move { store.write(change(serial), Change::default()).await })
        })
        .collect();
    let mut full = 0;
    for asked in asked {
        match asked.await.unwrap() {
            Err(StoreError::Full) => full += 1,
            Err(StoreError::Stalled) => {}
            other => panic!("{other:?}"),
        }
    }
    // One may be at the disk beside those in the queue.
    assert!((QUEUE_MAX - 1..=QUEUE_MAX).contains(&full), "{full} were refused");
    disk.stall(false);
    drop(store);
    thread.join().unwrap();
}

/// The disk is faster than the deadline, and its answer is no.
#[tokio::test]
async fn a_failure_in_the_last_moment_is_no_success() {
    let (jobs, queue) = mpsc::sync_channel(1);
    let store = Store { jobs };
    let thread = std::thread::spawn(move || {
        let Ok(Job::Write { write, done }) = queue.recv() else { panic!("a write was asked for") };
        assert!(write.fate.settle(Fate::WRITTEN));
        // The asker's deadline passes between the disk's word and its answer.
        std::thread::sleep(DEADLINE + Duration::from_millis(300));
        let failed = redb::Error::Io(io::Error::other("no room"));
        done.send(Err(StoreError::Io(Box::new(failed)))).unwrap();
    });
    let outcome = store.write(change(1), Change::default()).await;
    assert!(matches!(outcome, Err(StoreError::Io(_))), "{outcome:?}");
    thread.join().unwrap();
}
