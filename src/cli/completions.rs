//! `lockgate completions`: scripts that teach a shell the command line.

use super::Exit;
use super::output::print;

/// Print the completion script of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: lockgate completions bash > /etc/bash_completion.d/lockgate")]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

pub fn run(args: &Args, mut command: clap::Command) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "lockgate", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
