//! Programs that are run to learn or to tell something, and nothing that is left of them.
//!
//! A program that hangs, or that leaves children behind, would outlive its answer a thousand times in a day. So each
//! one runs in a process group of its own, and the whole group is killed: when the program ends, when its time is
//! up, and when nobody waits for it any more. A [`Slot`] is held until the program is really gone, even one that the
//! kernel cannot kill at once (a hung network disk), so the number of programs is bounded whatever they do.
//!
//! A program that leaves its process group (`setsid`) on purpose is out of reach; only its pipes are closed.
//!
//! Needs Linux 5.3 (`pidfd_open`): the end of the program is seen before its number is given back, so that
//! the group that is killed is never somebody else's.

mod group;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout, timeout_at};

use group::Group;

/// Bytes kept of each of a program's two outputs; what comes after them is read and dropped.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Characters of a line that is shown to people.
pub const LINE_CHARS_MAX: usize = 200;

/// How long the pipes may stay open after the group is dead: only a program that left the group holds them then.
const PARTING_MAX: Duration = Duration::from_millis(200);
/// What of our own environment a program sees, if it is set.
const INHERITED: [&str; 6] = ["PATH", "LANG", "LC_ALL", "TZ", "HOME", "TMPDIR"];
/// Where programs are looked for by a program, if we were not told ourselves.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program with its arguments, run as it is: there is no shell between.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Command {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
    stdin: Option<Arc<[u8]>>,
}

/// Why a command cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("the command is empty")]
    Empty,
    #[error("the program must be an absolute path: {0:?}")]
    Relative(String),
    #[error("the command holds a NUL byte")]
    Nul,
}

/// How many programs may run at a time. Clones share the number.
#[derive(Clone, Debug)]
pub struct Slots(Arc<Semaphore>);

/// The right to run one program.
#[derive(Debug)]
pub struct Slot(#[expect(dead_code, reason = "held for what its drop does")] OwnedSemaphorePermit);

/// A program that has run, or could not.
#[derive(Debug)]
pub struct Ran {
    pub how: End,
    pub stdout: Output,
    pub stderr: Output,
}

/// How a program ended.
#[derive(Debug)]
pub enum End {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal, which was not ours.
    Signalled(i32),
    /// Its time was up, and it was killed.
    TimedOut,
    /// It never ran.
    CannotStart(io::Error),
}

/// What a program wrote to one of its outputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// At most [`OUTPUT_BYTES_MAX`].
    pub bytes: Vec<u8>,
    /// Whether there was more.
    pub cut: bool,
}

impl Command {
    /// `argv` is the program, as an absolute path, and its arguments.
    ///
    /// # Errors
    /// When there is no program, its path is relative, or anything holds a NUL byte.
    pub fn new<A: Into<OsString>>(argv: impl IntoIterator<Item = A>) -> Result<Self, CommandError> {
        let mut argv = argv.into_iter().map(Into::into);
        let program = PathBuf::from(argv.next().ok_or(CommandError::Empty)?);
        let args: Vec<OsString> = argv.collect();
        if program.as_os_str().is_empty() {
            return Err(CommandError::Empty);
        }
        let has_nul = |text: &OsString| text.as_encoded_bytes().contains(&0);
        if args.iter().any(has_nul) || has_nul(&program.as_os_str().to_owned()) {
            return Err(CommandError::Nul);
        }
        if !program.is_absolute() {
            return Err(CommandError::Relative(program.display().to_string()));
        }
        Ok(Self { program, args, env: Vec::new(), stdin: None })
    }

    /// Sets a variable of the environment. A NUL byte in it ends the value there.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        let value = value.split('\0').next().unwrap_or_default();
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What the program reads from its standard input, which is empty otherwise.
    #[must_use]
    pub fn with_stdin(mut self, bytes: impl Into<Arc<[u8]>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs it, for at most `limit`. Dropping the future kills the program with its children.
    pub async fn run(&self, slot: Slot, limit: Duration) -> Ran {
        let deadline = Instant::now() + limit;
        let command = self.prepared();
        // To start a program reads it from a disk, which may hang; not in a thread that serves others. One that
        // starts after its time is dropped there, and so killed.
        let starting = spawn_blocking(move || Group::start(command, slot));
        match timeout_at(deadline, starting).await {
            Ok(Ok(Ok(group))) => self.attend(group, deadline).await,
            Ok(Ok(Err(error))) => Ran::not(End::CannotStart(error)),
            Ok(Err(error)) => Ran::not(End::CannotStart(io::Error::other(error))),
            Err(_) => Ran::not(End::TimedOut),
        }
    }

    fn prepared(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.args).current_dir("/").env_clear();
        command.env("PATH", PATH_DEFAULT);
        command.envs(INHERITED.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        let stdin = if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Feeds and reads a running program until it ends or has to.
    async fn attend(&self, mut group: Group, deadline: Instant) -> Ran {
        let (mut stdout, mut stderr) = (Output::default(), Output::default());
        let (input, (out, err)) = (group.stdin(), group.outputs());
        let how = {
            let mut talk = pin!(async {
                let feed = feed(input, self.stdin.as_deref());
                tokio::join!(feed, collect(out, &mut stdout), collect(err, &mut stderr));
            });
            let mut is_silent = false;
            let ended = timeout_at(deadline, async {
                tokio::select! {
                    ended = group.ended() => ended,
                    () = &mut talk => {
                        is_silent = true;
                        group.ended().await
                    }
                }
            });
            let ended = ended.await;
            group.kill();
            if !is_silent {
                // Whatever is still in the pipes.
                drop(timeout(PARTING_MAX, talk).await);
            }
            ended
        };
        let how = match how {
            Err(_) => End::TimedOut,
            Ok(Err(error)) => End::CannotStart(error),
            Ok(Ok(())) => group.reap().await.map_or_else(End::CannotStart, End::from),
        };
        Ran { how, stdout, stderr }
    }
}

impl Slots {
    /// For at most `max` programs at a time, at least one.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self(Arc::new(Semaphore::new(max.clamp(1, Semaphore::MAX_PERMITS))))
    }

    /// Waits for the turn.
    ///
    /// # Panics
    /// Never: the semaphore is not closed.
    pub async fn take(&self) -> Slot {
        Slot(self.0.clone().acquire_owned().await.expect("nobody closes the semaphore"))
    }

    /// Takes a slot if one is free.
    #[must_use]
    pub fn try_take(&self) -> Option<Slot> {
        self.0.clone().try_acquire_owned().ok().map(Slot)
    }

    /// Slots that are free now.
    #[must_use]
    pub fn free(&self) -> usize {
        self.0.available_permits()
    }
}

impl Ran {
    /// The first line that says something, of the output or else of the error output, without control characters and cut to
    /// [`LINE_CHARS_MAX`] characters.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        [&self.stdout, &self.stderr].into_iter().find_map(Output::line)
    }

    fn not(how: End) -> Self {
        Self { how, stdout: Output::default(), stderr: Output::default() }
    }
}

impl From<ExitStatus> for End {
    fn from(status: ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt;
        // Without a code it was a signal.
        status.code().map_or_else(|| Self::Signalled(status.signal().unwrap_or_default()), Self::Exited)
    }
}

impl Output {
    fn line(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        text.lines().map(shown).find(|line| !line.is_empty())
    }
}

/// A line as people and logs can bear it.
pub(crate) fn shown(line: &str) -> String {
    let printable = line.trim().chars().map(|char| if char.is_control() { ' ' } else { char });
    let mut shown: String = printable.take(LINE_CHARS_MAX + 1).collect();
    if let Some((end, _)) = shown.char_indices().nth(LINE_CHARS_MAX) {
        shown.truncate(end);
        shown.push_str("...");
    }
    shown.trim().to_owned()
}

/// Writes what the program is to read. One that does not want it closes the pipe, which is its right.
async fn feed(stdin: Option<impl AsyncWrite + Unpin>, bytes: Option<&[u8]>) {
    if let (Some(mut stdin), Some(bytes)) = (stdin, bytes) {
        let _ = stdin.write_all(bytes).await;
        let _ = stdin.shutdown().await;
    }
}

/// Reads to the end: a program whose pipe is full would hang, and one whose pipe is closed would die of it.
async fn collect(pipe: Option<impl AsyncRead + Unpin>, into: &mut Output) {
    let Some(mut pipe) = pipe else { return };
    let mut chunk = [0; 4096];
    while let Ok(came @ 1..) = pipe.read(&mut chunk).await {
        let kept = came.min(OUTPUT_BYTES_MAX - into.bytes.len());
        into.bytes.extend_from_slice(&chunk[..kept]);
        into.cut |= kept < came;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_command_is_refused() {
        assert_eq!(Command::new(Vec::<String>::new()), Err(CommandError::Empty));
        assert_eq!(Command::new([""]), Err(CommandError::Empty));
        assert_eq!(Command::new(["true"]), Err(CommandError::Relative("true".into())));
        assert_eq!(Command::new(["./true"]), Err(CommandError::Relative("./true".into())));
        assert_eq!(Command::new(["/bin/true", "a\0b"]), Err(CommandError::Nul));
        assert_eq!(Command::new(["/bin/\0true"]), Err(CommandError::Nul));
        assert!(Command::new(["/bin/true", ""]).is_ok());
    }

    #[test]
    fn the_first_line_that_says_something_is_shown_without_control_characters() {
        let output = |text: &[u8]| Output { bytes: text.to_vec(), cut: false };
        assert_eq!(output(b"\n  \n ok: \x1b[31mred\x07 \nmore").line().as_deref(), Some("ok:  [31mred"));
        assert_eq!(output(b"").line(), None);
        assert_eq!(output(b"a\xffb").line().as_deref(), Some("a\u{fffd}b"));
        let long = "ä".repeat(LINE_CHARS_MAX);
        assert_eq!(shown(&long), long);
        assert_eq!(shown(&format!("{long}ä")), format!("{long}..."));
    }
}
