//! Parses the command line, runs the verb, leaves with its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    lockgate::cli::main()
}
