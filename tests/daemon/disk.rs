//! A small disk that can be filled, for a daemon.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A small disk in a mount namespace of its own. It is gone with the process that holds it, however the test ends.
pub(crate) struct Disk {
    holder: Child,
    folder: PathBuf,
}

impl Disk {
    pub(crate) async fn mount(folder: &Path, size: &str) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        let script = format!(
            "mount -t tmpfs -o size={size},mode=750 tmpfs '{}' && echo mounted && cat",
            folder.display()
        );
        let mut unshare = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            unshare.arg("--map-root-user");
        }
        let mut holder = unshare
            .args(["--mount", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("unshare (package util-linux) runs");
        let mut line = String::new();
        let mut out = BufReader::new(holder.stdout.take().expect("it was asked for"));
        out.read_line(&mut line).await.expect("the holder speaks");
        assert_eq!(
            line.trim(),
            "mounted",
            "this test has to mount a tmpfs in a namespace of its own, which failed"
        );
        Self { holder, folder: folder.to_owned() }
    }

    fn id(&self) -> String {
        self.holder.id().expect("the holder runs").to_string()
    }

    /// What makes a program run where the disk is.
    pub(crate) fn wrapper(&self) -> Vec<String> {
        let user = (!rustix::process::geteuid().is_root()).then_some("--user --preserve-credentials");
        let options = user.into_iter().flat_map(|options| options.split(' ')).map(str::to_owned);
        let line = ["nsenter".to_owned(), "--target".into(), self.id(), "--mount".into()];
        line.into_iter().chain(options).chain(["--".into()]).collect()
    }

    /// Takes all the room there is left.
    pub(crate) fn fill(&self) {
        use std::io::Write;
        let mut file =
            std::fs::OpenOptions::new().create(true).append(true).open(self.path("filler")).expect("a file");
        while file.write(&[b'x'; 512]).is_ok_and(|written| written > 0) {}
    }

    pub(crate) fn empty(&self) {
        std::fs::remove_file(self.path("filler")).expect("the filler is there");
    }

    /// The path from outside to a file on it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let inside = self.folder.strip_prefix("/").expect("an absolute path");
        Path::new("/proc").join(self.id()).join("root").join(inside).join(name)
    }
}
