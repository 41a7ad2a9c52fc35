//! The task that asks, and how the rest of the daemon hears of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tidegate_config::{Addresses, Concern, Config, Resolver};
use tidegate_health::event::EventKind;
use tidegate_health::id::Name;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};

use super::ask::{Answer, Answers, Asker, Stamp};
use super::ledger::{Alarm, Ledger, News};
use super::{NameRecord, NameStatus};
use crate::clock::wall;
use crate::control::Handle;
use crate::metrics::Metrics;
use crate::store::{Before, Change, Store};

/// Names that are being asked for at a time.
const CONCURRENT_MAX: usize = 16;
/// How often it is looked whether the system's files have changed.
const FILES: Duration = Duration::from_secs(2);
/// A change of addresses that could not be taken over is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

/// What the rest of the daemon sees of names.
#[derive(Debug, Default)]
pub struct Board {
    names: ArcSwap<Vec<NameStatus>>,
    concerns: ArcSwap<Vec<Concern>>,
}

impl Board {
    /// Every name, sorted.
    pub fn status(&self) -> Vec<NameStatus> {
        let concerns = self.concerns.load();
        self.names.load().iter().map(|name| name.clone().with_concerns(&concerns)).collect()
    }

    /// Takes over what is to be known of the present addresses, and says what is new of it.
    fn concern(&self, concerns: Vec<Concern>) {
        let concerns = Arc::new(concerns);
        let before = self.concerns.swap(concerns.clone());
        for Concern { name, message } in concerns.iter().filter(|concern| !before.contains(concern)) {
            tracing::warn!(name = &**name, "{message}");
        }
    }
}

/// The names of the configuration that runs, as a reload sees them.
pub(crate) struct Names {
    orders: mpsc::Sender<Prepared>,
    found: watch::Receiver<Arc<Addresses>>,
    /// What the present plan is made of.
    taken: Arc<Addresses>,
    retry: Option<Instant>,
    pub(crate) board: Arc<Board>,
}

/// The names of another configuration, those that are new resolved.
pub(crate) struct Prepared {
    names: BTreeSet<Name>,
    settings: Resolver,
    /// Of those that are new.
    ledger: Ledger,
    asker: Arc<Asker>,
    pub(crate) addresses: Addresses,
}

/// Asks for names. First once, for a bounded time, then as a task.
pub(crate) struct Watcher {
    settings: Resolver,
    ledger: Ledger,
    asker: Arc<Asker>,
    stamp: Stamp,
    /// For the history, which is not there yet at a start.
    untold: Vec<Alarm>,
}

impl Watcher {
    /// Asks for every name once, until `deadline` at the latest. Those that are not resolved by then have the addresses that
    /// the store knows, or none.
    pub(crate) async fn start(
        config: &Config,
        stored: &BTreeMap<Name, NameRecord>,
        deadline: Instant,
    ) -> Self {
        let settings = config.resolver.clone();
        let (asker, stamp) = asker(&settings).await;
        let mut ledger = Ledger::new(&settings);
        let names = config.names();
        for name in &names {
            ledger.learn(name, stored.get(name), Instant::now());
        }
        let untold = first(&mut ledger, &names, &asker, deadline).await;
        Self { settings, ledger, asker, stamp, untold }
    }

    pub(crate) fn addresses(&self) -> Addresses {
        self.ledger.addresses()
    }

    /// Goes on as a task of its own. `concerns` are what [`Config::resolve`] found.
    pub(crate) fn spawn(
        self,
        control: Handle,
        store: Store,
        metrics: Arc<Metrics>,
        concerns: Vec<Concern>,
    ) -> Names {
        let (orders, inbox) = mpsc::channel(1);
        let (publish, found) = watch::channel(Arc::new(self.ledger.addresses()));
        let board = Arc::new(Board::default());
        board.concern(concerns);
        let names = Names {
            orders,
            taken: found.borrow().clone(),
            found: found.clone(),
            retry: None,
            board: board.clone(),
        };
        let (records, changed) = watch::channel(self.ledger.records());
        tokio::spawn(keep(store, changed));
        let asked = JoinSet::new();
        let task = Task { watcher: self, asked, control, metrics, board, publish, records };
        tokio::spawn(task.run(inbox));
        names
    }
}

impl Names {
    /// What the names stand for at present.
    pub(crate) fn addresses(&mut self) -> Arc<Addresses> {
        self.found.borrow_and_update().clone()
    }

    /// What the present plan is made of.
    pub(crate) fn taken(&self) -> &Addresses {
        &self.taken
    }

    /// Waits until the addresses may be others than those that were taken.
    pub(crate) async fn moved(&mut self) {
        let changed = async {
            // Never again, where the task has ended.
            if self.found.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        match self.retry {
            None => changed.await,
            Some(at) => tokio::select! {
                () = changed => {}
                () = sleep_until(at) => {}
            },
        }
        self.retry = None;
    }

    /// The plan is made of these from now on.
    pub(crate) fn take(&mut self, addresses: Arc<Addresses>, concerns: Vec<Concern>) {
        self.taken = addresses;
        self.board.concern(concerns);
    }

    /// They could not be taken over just now.
    pub(crate) fn try_again(&mut self) {
        self.retry = Some(Instant::now() + RETRY);
    }

    /// Resolves the names of another configuration that are new, for as long as one answer may take.
    pub(crate) async fn prepare(&mut self, config: &Config) -> Prepared {
        let (names, settings) = (config.names(), config.resolver.clone());
        let known = self.addresses();
        let new: BTreeSet<_> = names.iter().filter(|name| !known.contains_key(*name)).cloned().collect();
        let (asker, _) = asker(&settings).await;
        let mut ledger = Ledger::new(&settings);
        for name in &new {
            ledger.learn(name, None, Instant::now());
        }
        // What is wrong is told by the task, if it comes to that.
        let _ = first(&mut ledger, &new, &asker, Instant::now() + settings.timeout).await;
        let mut addresses = ledger.addresses();
        let present = known.iter().filter(|(name, _)| names.contains(*name));
        addresses.extend(present.map(|(name, addresses)| (name.clone(), addresses.clone())));
        Prepared { names, settings, ledger, asker, addresses }
    }

    /// The configuration that was prepared runs from now on. Every name is asked for anew.
    pub(crate) async fn watch(&mut self, prepared: Prepared, concerns: Vec<Concern>) {
        self.take(Arc::new(prepared.addresses.clone()), concerns);
        // It only fails where the task has ended.
        let _ = self.orders.send(prepared).await;
    }
}

struct Task {
    watcher: Watcher,
    /// Questions that are under way.
    asked: JoinSet<(Name, Answers)>,
    control: Handle,
    metrics: Arc<Metrics>,
    board: Arc<Board>,
    publish: watch::Sender<Arc<Addresses>>,
    records: watch::Sender<BTreeMap<Name, NameRecord>>,
}

impl Task {
    async fn run(mut self, mut inbox: mpsc::Receiver<Prepared>) {
        for alarm in std::mem::take(&mut self.watcher.untold) {
            self.tell(alarm).await;
        }
        self.show(true);
        let mut files = interval(FILES);
        files.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while self.asked.len() < CONCURRENT_MAX
                && let Some(name) = self.watcher.ledger.ask(Instant::now())
            {
                ask(&mut self.asked, &self.watcher.asker, name);
            }
            let due = self.watcher.ledger.next_due().filter(|_| self.asked.len() < CONCURRENT_MAX);
            tokio::select! {
                order = inbox.recv() => match order {
                    Some(prepared) => self.adopt(prepared),
                    // The daemon stops.
                    None => return,
                },
                Some(answer) = self.asked.join_next() => match answer {
                    Ok((name, answers)) => self.take(&name, answers).await,
                    // Which name it was about is lost with it.
                    Err(_) => self.ask_all(),
                },
                () = until(due) => {}
                _ = files.tick() => self.look_at_files().await,
            }
        }
    }

    /// Whatever is under way is forgotten: somebody else may have to be asked now.
    fn ask_all(&mut self) {
        self.asked = JoinSet::new();
        self.watcher.ledger.ask_all(Instant::now());
    }

    async fn take(&mut self, name: &Name, answers: Answers) {
        for answer in &answers {
            self.metrics.name_answered(match answer {
                Answer::Addresses { .. } => "found",
                Answer::Nothing { .. } => "nothing",
                Answer::Failed(_) => "failed",
            });
        }
        let now = (Instant::now(), wall());
        let News { addresses, alarm } = self.watcher.ledger.take(name, answers, now, fastrand::f64());
        self.show(addresses);
        if let Some(alarm) = alarm {
            self.tell(alarm).await;
        }
    }

    fn adopt(&mut self, Prepared { names, settings, ledger, asker, .. }: Prepared) {
        let watcher = &mut self.watcher;
        (watcher.settings, watcher.asker) = (settings, asker);
        watcher.ledger.merge(ledger);
        watcher.ledger.retain(&names);
        watcher.ledger.set(&watcher.settings);
        self.ask_all();
        self.show(true);
    }

    async fn look_at_files(&mut self) {
        let Ok(stamp) = tokio::task::spawn_blocking(Stamp::now).await else { return };
        if stamp != self.watcher.stamp {
            tracing::info!("the system's resolvers or hosts have changed; names are asked for anew");
            (self.watcher.asker, self.watcher.stamp) = asker(&self.watcher.settings).await;
            self.ask_all();
        }
    }

    /// Makes visible what is known.
    fn show(&self, addresses: bool) {
        let names = self.watcher.ledger.status();
        self.metrics.names(&names);
        self.board.names.store(Arc::new(names));
        if addresses {
            self.publish.send_replace(Arc::new(self.watcher.ledger.addresses()));
            self.records.send_replace(self.watcher.ledger.records());
        }
    }

    async fn tell(&self, alarm: Alarm) {
        let (kind, reason) = match alarm {
            Alarm::Began(reason) => (EventKind::Unresolved, reason),
            Alarm::Ended(reason) => (EventKind::Resolved, reason),
        };
        self.control.note(kind, reason).await;
    }
}

fn ask(asked: &mut JoinSet<(Name, Answers)>, asker: &Arc<Asker>, name: Name) {
    let asker = asker.clone();
    asked.spawn(async move {
        let answers = asker.ask(&name).await;
        (name, answers)
    });
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

async fn asker(settings: &Resolver) -> (Arc<Asker>, Stamp) {
    let own = settings.clone();
    let made = tokio::task::spawn_blocking(move || {
        // Before they are read: what changes meanwhile is seen then.
        let stamp = Stamp::now();
        (Arc::new(Asker::new(&own)), stamp)
    });
    made.await.expect("reading two files does not panic")
}

/// Asks for all of `names`, each once; what is not answered by `deadline` has failed.
async fn first(
    ledger: &mut Ledger,
    names: &BTreeSet<Name>,
    asker: &Arc<Asker>,
    deadline: Instant,
) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    let mut waiting: Vec<_> = names.iter().cloned().collect();
    let mut asked: JoinSet<(Name, Answers)> = JoinSet::new();
    let mut missing = names.clone();
    let mut take = |name: &Name, answers| {
        alarms.extend(ledger.take(name, answers, (Instant::now(), wall()), fastrand::f64()).alarm);
    };
    loop {
        while asked.len() < CONCURRENT_MAX
            && let Some(name) = waiting.pop()
        {
            ask(&mut asked, asker, name);
        }
        match timeout_at(deadline, asked.join_next()).await {
            Ok(Some(Ok((name, answers)))) => {
                missing.remove(&name);
                take(&name, answers);
            }
            // A question that ended by itself is one without an answer.
            Ok(Some(Err(_))) => {}
            Ok(None) | Err(_) => break,
        }
    }
    for name in missing {
        let late = || Answer::Failed("no answer in time".to_owned());
        take(&name, [late(), late()]);
    }
    alarms
}

/// Writes down the last good addresses whenever they have changed. What cannot be written is only missed by a start without
/// a resolver.
async fn keep(store: Store, mut changed: watch::Receiver<BTreeMap<Name, NameRecord>>) {
    while changed.changed().await.is_ok() {
        let names = Some(changed.borrow_and_update().clone());
        if let Err(error) = store.write(Change { names, ..Change::default() }, Before::default()).await {
            tracing::warn!(%error, "the addresses of names could not be written down");
        }
    }
}
