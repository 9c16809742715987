//! The `pcc` command: everything is in [`pcc::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    pcc::cli::main()
}
