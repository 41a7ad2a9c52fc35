//! `tidegate man` and `tidegate completions`: what the command line knows of itself, for packages and for people.

use std::path::Path;

use clap::Command;
use clap_complete::Shell;

use super::{DONE, complain, show};

/// Prints the page of the command itself, or writes one page for it and for each of its commands into a folder.
pub(super) fn man(command: Command, folder: Option<&Path>) -> u8 {
    let Some(folder) = folder else {
        let mut page = Vec::new();
        return match clap_mangen::Man::new(command).render(&mut page) {
            Ok(()) => show(&String::from_utf8_lossy(&page)),
            Err(error) => complain(&format!("the page cannot be written: {error}")),
        };
    };
    match std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder)) {
        Ok(()) => DONE,
        Err(error) => complain(&format!("pages cannot be written to {}: {error}", folder.display())),
    }
}

/// Prints the script that completes `tidegate` in a shell.
pub(super) fn completions(mut command: Command, shell: Shell) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "tidegate", &mut script);
    show(&String::from_utf8_lossy(&script))
}
