//! `zkcoord` at a shell: the core's calls, with arguments, tables and exit statuses.
//!
//! | module | what it answers |
//! | --- | --- |
//! | `status` | which exit status means what |
//! | `print` | how an answer, a table, an error and a text from a znode reach a terminal or a pipe |
//! | `arguments` | which options all commands share, and how numbers and times are written |
//! | `files` | what the configuration files say |
//! | `connection` | which setting is in force: option, environment, file; and where it came from |
//! | `signals` | which signal came, and whether the terminal has sent it |
//! | `call` | one call of the core, which a signal ends |
//! | `descendants` | what a command has started, and signals to all of it |
//! | `child` | the command that runs with a slot |
//! | `held` | what ends the command when its slot or its lease may be another's |
//! | `progress` | the line that says how a wait goes |
//! | `follow` | what goes on until a signal, the end of the time, or a closed pipe |
//! | `screen` | the terminal of a live view, and its keys |
//! | `examination` | what is odd about a pool and its servers, and what to do |
//! | `commands` | one module a command |
//!
//! Imports run one way: a module uses what stands above it in this table, and nothing below.

mod arguments;
mod call;
mod child;
mod commands;
mod connection;
mod descendants;
mod examination;
mod files;
mod follow;
mod held;
mod print;
mod progress;
mod screen;
mod signals;
mod status;

use std::process::ExitCode;

use clap::CommandFactory;

fn main() -> ExitCode {
    drop_empty_variables();
    let matches = commands::Zkcoord::command().try_get_matches();
    matches.map_or_else(|error| status::of_usage(&error), |matches| commands::run(&matches)).into()
}

/// Forgets the variables of ours that are empty: as everywhere, they count as not set.
fn drop_empty_variables() {
    for (name, value) in std::env::vars_os() {
        if value.is_empty() && name.to_string_lossy().starts_with("ZKCOORD_") {
            std::env::remove_var(name);
        }
    }
}
