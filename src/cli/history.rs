//! `history`: what was done, noticed and seen to change.

use std::io::Write as _;

use clap::Args;
use tidegate_health::event::EventKind;

use super::client::{Client, ClientError, segment};
use super::{DONE, SocketArg, complain, read, render, show};
use crate::history::{Entry, Moment};

#[derive(Args, Debug)]
pub(super) struct HistoryArgs {
    /// Only what concerns this group.
    group: Option<String>,
    /// How many entries at most; the newest, or with `--after` the oldest of those.
    #[arg(short = 'n', long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    limit: u16,
    /// Also what was seen to change: the health of origins, the fitness of sites, gates, front doors, isolation.
    #[arg(long)]
    all: bool,
    /// Only what has to do with this site.
    #[arg(long)]
    site: Option<String>,
    /// Only what was observed of this service.
    #[arg(long)]
    service: Option<String>,
    /// Only what was observed of these origins: `service/site/address`, in which `*` stands for any characters.
    #[arg(long, value_name = "PATTERN")]
    origin: Option<String>,
    /// Only entries of this kind; may be repeated.
    #[arg(long, value_name = "KIND")]
    kind: Vec<EventKind>,
    /// Only what this person, or `tidegate` itself, did.
    #[arg(long)]
    actor: Option<String>,
    /// Not before this: a time like 2026-11-25T03:10:00Z, or how long ago, like 2h.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only before this.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only entries before the one with this id, for the next page.
    #[arg(long, value_name = "ID")]
    before: Option<u64>,
    /// Only entries after the one with this id: what is new since.
    #[arg(long, value_name = "ID")]
    after: Option<u64>,
    /// Everything that matches, the oldest first, as one JSON object per line.
    #[arg(long, conflicts_with = "limit")]
    json_lines: bool,
    #[command(flatten)]
    socket: SocketArg,
}

pub(super) fn run(args: &HistoryArgs) -> u8 {
    for moment in [&args.since, &args.until].into_iter().flatten() {
        if let Err(error) = moment.parse::<Moment>() {
            complain(&error.to_string());
            return super::USAGE;
        }
    }
    let query = args.query();
    if args.json_lines {
        return export(args, &format!("/api/v1/history/export?{query}"));
    }
    let path = format!("/api/v1/history?limit={}&{query}", args.limit);
    let is_tail = args.after.is_some();
    read(&args.socket, path.trim_end_matches('&'), |reply: &Vec<Entry>| {
        // The newest stands beside the prompt.
        let mut entries = reply.clone();
        if !is_tail {
            entries.reverse();
        }
        render::history(&entries)
    })
}

impl HistoryArgs {
    fn query(&self) -> String {
        let kinds: Vec<_> = self.kind.iter().map(|kind| kind.label()).collect();
        let kinds = (!kinds.is_empty()).then(|| kinds.join(","));
        let texts = [
            ("group", &self.group),
            ("site", &self.site),
            ("service", &self.service),
            ("origin", &self.origin),
            ("kind", &kinds),
            ("actor", &self.actor),
            ("since", &self.since),
            ("until", &self.until),
        ];
        let texts =
            texts.into_iter().filter_map(|(key, text)| Some(format!("{key}={}", segment(text.as_ref()?))));
        let ids = [("before", self.before), ("after", self.after)];
        let ids = ids.into_iter().filter_map(|(key, id)| Some(format!("{key}={}", id?)));
        let all = self.all.then(|| "all=true".to_owned());
        texts.chain(ids).chain(all).collect::<Vec<_>>().join("&")
    }
}

/// Prints as it comes: nobody knows how much there is.
fn export(args: &HistoryArgs, path: &str) -> u8 {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut unread = false;
    let outcome = Client::find(&args.socket).and_then(|client| {
        client.stream(path, |chunk| {
            unread = out.write_all(chunk).is_err();
            !unread
        })
    });
    // A reader that went away has what it wanted.
    unread |= out.flush().is_err();
    drop(out);
    match outcome {
        Ok(()) => DONE,
        Err(_) if unread => DONE,
        Err(error) => refused(args, &error),
    }
}

fn refused(args: &HistoryArgs, error: &ClientError) -> u8 {
    if args.socket.json {
        show(&serde_json::to_string_pretty(&error.shape()).unwrap_or_default());
    } else {
        complain(&error.to_string());
    }
    error.exit_code()
}
