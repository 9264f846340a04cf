//! The commands, and which options they have.

mod confd;
mod config;
mod coordinator;
mod doctor;
mod ensemble;
mod events;
mod evict;
mod lease;
mod live;
mod party;
mod pool;
mod pools;
mod run;
mod shell;
mod znode;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use zkcoord::Error;

use crate::arguments::{ConnectionOptions, OutputOptions};
use crate::call::{Answer, Calls};
use crate::connection;
use crate::print;
use crate::status::{self, Status};

/// Slots, leases and who holds what, for a fleet of hosts on ZooKeeper.
///
/// A fleet must not restart, deploy or reboot all at once. `zkcoord run` lets each host take one of N slots, runs a
/// command with it, and gives it back: what flock does on one host.
#[derive(Debug, Parser)]
#[command(name = "zkcoord", version, propagate_version = true, after_help = status::TABLE, max_term_width = 110)]
pub(crate) struct Zkcoord {
    #[command(flatten)]
    connection: ConnectionOptions,
    #[command(flatten)]
    output: OutputOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Lock(pool::Lock),
    Unlock(pool::Unlock),
    Holders(pool::Holders),
    Status(pool::StatusOf),
    Evict(evict::Evict),
    SetMax(pool::SetMax),
    Pools(pools::Pools),
    RemovePool(pool::RemovePool),
    Party(party::Party),
    PartyJoin(party::Join),
    PartyLeave(party::Leave),
    Events(events::Events),
    Doctor(doctor::Doctor),
    Znode(znode::Znode),
    Lease(lease::Lease),
    Coordinator(coordinator::Coordinator),
    Ensemble(ensemble::Ensemble),
    Confd(confd::Confd),
    Config(config::Config),
    Completions(shell::Completions),
    Manual(shell::Manual),
}

/// Runs a command to its end.
pub(crate) fn run(matches: &ArgMatches) -> Status {
    let arguments = match Zkcoord::from_arg_matches(matches) {
        Ok(arguments) => arguments,
        Err(error) => return status::of_usage(&error),
    };
    let Zkcoord { connection, output, command } = arguments;
    if output.verbose > 1 {
        print::log();
    }
    match command {
        Command::Run(run) => with_calls(&connection, output, async |calls| run.run(calls, output).await),
        Command::Lock(lock) => with_calls(&connection, output, async |calls| lock.run(calls, output).await),
        Command::Unlock(unlock) => with_calls(&connection, output, async |calls| unlock.run(calls, output).await),
        Command::Holders(holders) => with_calls(&connection, output, async |calls| holders.run(calls, output).await),
        Command::Status(status) => with_calls(&connection, output, async |calls| status.run(calls, output).await),
        Command::Evict(evict) => with_calls(&connection, output, async |calls| evict.run(calls, output).await),
        Command::SetMax(set_max) => with_calls(&connection, output, async |calls| set_max.run(calls, output).await),
        Command::Pools(pools) => with_calls(&connection, output, async |calls| pools.run(calls, output).await),
        Command::RemovePool(remove) => with_calls(&connection, output, async |calls| remove.run(calls, output).await),
        Command::Party(party) => with_calls(&connection, output, async |calls| party.run(calls, output).await),
        Command::PartyJoin(join) => with_calls(&connection, output, async |calls| join.run(calls, output).await),
        Command::PartyLeave(leave) => with_calls(&connection, output, async |calls| leave.run(calls, output).await),
        Command::Events(events) => with_calls(&connection, output, async |calls| events.run(calls, output).await),
        Command::Doctor(doctor) => {
            with_calls(&connection, output, async |calls| doctor.run(calls, &connection, output).await)
        }
        Command::Znode(znode) => with_calls(&connection, output, async |calls| znode.run(calls, output).await),
        Command::Lease(lease) => with_calls(&connection, output, async |calls| lease.run(calls, output).await),
        Command::Coordinator(coordinator) => {
            with_calls(&connection, output, async |calls| coordinator.run(calls, output).await)
        }
        Command::Ensemble(ensemble) => with_calls(&connection, output, async |calls| ensemble.run(calls, output).await),
        Command::Confd(confd) => confd.run(output).unwrap_or_else(|error| failed(&error, output)),
        Command::Config(config) => match config.run(&connection, matches, output) {
            Ok(()) => Status::DONE,
            Err(error) => failed(&error, output),
        },
        Command::Completions(completions) => completions.run(Zkcoord::command()),
        Command::Manual(manual) => manual.run(Zkcoord::command()),
    }
}

/// Runs a command that asks the servers. All of it runs in the first thread of the process, which lives as long as the
/// process does: the kernel would end the command of `run` together with the thread that has started it.
fn with_calls(
    connection: &ConnectionOptions,
    output: OutputOptions,
    work: impl AsyncFnOnce(&mut Calls) -> Answer<Status>,
) -> Status {
    let settings = match connection::settings(connection) {
        Ok(settings) => settings,
        Err(error) => return failed(&error, output),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&Error::resources("open a connection", &error), output),
    };
    runtime.block_on(async {
        let mut calls = match Calls::new(settings) {
            Ok(calls) => calls,
            Err(error) => return failed(&Error::resources("wait for signals", &error), output),
        };
        let answer = work(&mut calls).await;
        calls.finish().await;
        match answer {
            Ok(status) => status,
            Err(ended) => {
                print::error(ended.error(), output.form());
                ended.status()
            }
        }
    })
}

fn failed(error: &Error, output: OutputOptions) -> Status {
    print::error(error, output.form());
    Status::of(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declarations_hold_together() {
        Zkcoord::command().debug_assert();
    }
}
