//! `znode`: single znodes, whatever they are for.

mod acl;
mod data;
mod input;
mod list;
mod watch;

use clap::{Args, Subcommand};
use zkcoord::znode::stat::Stat;

use crate::arguments::OutputOptions;
use crate::call::{Answer, Calls};
use crate::status::Status;

/// Read, write and follow single znodes
///
/// What comes from a znode is escaped where it could be a command to a terminal; the data that `get` writes to a file or a
/// pipe are as they are. A znode that is not there is status 1.
#[derive(Args, Debug)]
pub(crate) struct Znode {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ls(list::Ls),
    Tree(list::Tree),
    Get(data::Get),
    Set(data::Set),
    Create(data::Create),
    Rm(data::Rm),
    Acl(acl::Acl),
    Stat(list::StatOf),
    Watch(watch::Watch),
}

impl Znode {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        match self.command {
            Command::Ls(ls) => ls.run(calls, output).await,
            Command::Tree(tree) => tree.run(calls, output).await,
            Command::Get(get) => get.run(calls, output).await,
            Command::Set(set) => set.run(calls, output).await,
            Command::Create(create) => create.run(calls, output).await,
            Command::Rm(rm) => rm.run(calls).await,
            Command::Acl(acl) => acl.run(calls, output).await,
            Command::Stat(stat) => stat.run(calls, output).await,
            Command::Watch(watch) => watch.run(calls, output).await,
        }
    }
}

/// A stat, a line for each field.
fn lines(stat: &Stat) -> Vec<(&'static str, String)> {
    vec![
        ("kind", stat.kind.to_owned()),
        ("session", stat.session.clone().unwrap_or_else(|| "-".to_owned())),
        ("created", stat.created.clone()),
        ("modified", stat.modified.clone()),
        ("version", stat.version.to_string()),
        ("children version", stat.children_version.to_string()),
        ("acl version", stat.acl_version.to_string()),
        ("czxid", format!("{:#x}", stat.czxid)),
        ("mzxid", format!("{:#x}", stat.mzxid)),
        ("pzxid", format!("{:#x}", stat.pzxid)),
        ("bytes", stat.bytes.to_string()),
        ("children", stat.children.to_string()),
    ]
}
