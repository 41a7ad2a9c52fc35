//! Arguments to exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(tidegate::cli::run())
}
