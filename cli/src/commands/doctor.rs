//! `doctor`: what is odd about a pool and its servers.

use std::time::{Duration, SystemTime};

use clap::Args;
use futures::future::{join, join_all, try_join3};
use zkcoord::client::Client;
use zkcoord::recipe::semaphore;
use zkcoord::wait::Budget;
use zkcoord::{ensemble, znode, Error, Result};

use crate::arguments::{self, ConnectionOptions, OutputOptions};
use crate::call::{Answer, Calls};
use crate::examination::{self, Commands, Finding, Pool};
use crate::print::{self, shown, Form};
use crate::status::Status;

/// Print what is odd about a pool and its servers, and what to do about it
///
/// The command changes nothing. Odd are servers that cannot be used, a queue node of no session, more holders than the
/// limit, no limit, a child that is no lease, an identifier with several slots, a slot that is held without a session
/// for longer than --older-than, a wait that is longer than that, and a clock of this host that is far from the
/// servers'. For those who log in, a pool that everybody may change is odd, too. Each finding has a command to paste,
/// where there is one. The status is 0 where nothing is odd, and 1 where something is.
#[derive(Args, Debug)]
pub(crate) struct Doctor {
    /// The pool
    path: String,
    /// Look at all pools below PATH, and at PATH where it is one
    #[arg(short, long)]
    all: bool,
    /// For how long a slot may be held without a session, or waited for
    #[arg(long, default_value = "1day", value_name = "TIME", value_parser = arguments::time)]
    older_than: Duration,
    /// The port of the servers' AdminServers, which tell their clocks; 0 for none
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    admin_port: u16,
}

impl Doctor {
    pub(crate) async fn run(
        self,
        calls: &mut Calls,
        connection: &ConnectionOptions,
        output: OutputOptions,
    ) -> Answer<Status> {
        let path = if self.all { calls.settings().any_path(&self.path) } else { calls.settings().path(&self.path) }?;
        let (options, shown) = (connection.words(), calls.settings().shown(&path));
        let (port, all) = (self.admin_port, self.all);
        let asking = calls.ask(|client, budget| async move {
            let servers = ensemble::status::status(&client, port, true, &budget);
            let pools = async {
                let pools = if all { semaphore::pools(&client, &path, &budget).await? } else { Vec::new() };
                let paths = if all { pools.into_iter().map(|pool| pool.path).collect() } else { vec![path.clone()] };
                let looks = paths.into_iter().map(async |path| (read(&client, &path, &budget).await, path));
                Ok::<_, Error>(join_all(looks).await)
            };
            Ok(join(servers, pools).await)
        });
        let (servers, pools) = asking.await?;
        let mut found = match &servers {
            Ok(servers) => examination::servers(servers, &options),
            Err(_) => Vec::new(),
        };
        let mut refused = None;
        for (pool, path) in pools.iter().flatten() {
            let path = calls.settings().shown(path);
            match pool {
                Ok(pool) => {
                    let commands = Commands { path: path.clone(), options: options.clone() };
                    let odd = pool.findings(&commands, self.older_than, SystemTime::now()).into_iter();
                    // Findings name their pool only where there may be several pools.
                    found.extend(odd.map(|finding| if all { finding.of(&path) } else { finding }));
                }
                // Among many pools, one that this user may not read must not hide the findings of the others.
                Err(error @ Error::NoAuth { .. }) if all => found.push(examination::unreadable(&path, error)),
                Err(error) => refused = Some(error.clone()),
            }
        }
        let whole = pools.as_ref().ok().filter(|_| refused.is_none());
        let looked_at = whole.map(|pools| if all { numbered(pools.len(), &shown) } else { print::shown(&shown) });
        tell(looked_at.as_deref(), &found, output);
        // The findings about the servers have been printed by now. They may say why the pools cannot be read.
        pools?;
        refused.map_or(Ok(()), Err)?;
        servers?;
        Ok(if found.is_empty() { Status::DONE } else { Status::NO })
    }
}

fn numbered(pools: usize, root: &str) -> String {
    format!("{}: {pools} pool{}", shown(root), if pools == 1 { "" } else { "s" })
}

async fn read(client: &Client, path: &str, budget: &Budget) -> Result<Pool> {
    let data = async { or_missing(znode::get(client, path, budget).await) };
    let acl = async { or_missing(znode::acl(client, path, budget).await) };
    let (status, data, acl) = try_join3(semaphore::status(client, path, budget), data, acl).await?;
    let acl = acl.as_ref().map(examination::entries).unwrap_or_default();
    Ok(Pool { status, data, acl, is_somebody: client.settings().identity.is_somebody() })
}

fn or_missing<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(it) => Ok(Some(it)),
        Err(Error::NoNode { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Prints what is odd. `looked_at` names what was examined, where all of it could be.
fn tell(looked_at: Option<&str>, found: &[Finding], output: OutputOptions) {
    match output.form() {
        Form::Json => print::json(&found),
        Form::Text if found.is_empty() => {
            if let Some(what) = looked_at.filter(|_| !output.quiet) {
                print::answer(&format!("{what}: nothing odd"));
            }
        }
        Form::Text => {
            for Finding { what, advice } in found {
                print::answer(&format!("{what}\n  {advice}"));
            }
        }
    }
}
