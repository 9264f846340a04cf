//! `znode acl`: who may do what with a znode.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use zkcoord::acl::{self, List};
use zkcoord::connect::settings::Settings;
use zkcoord::secret::Secret;
use zkcoord::znode::stat::Stat;
use zkcoord::{znode, Error, Result};

use crate::arguments::OutputOptions;
use crate::call::{Answer, Calls};
use crate::files;
use crate::print::{self, shown, Form};
use crate::status::Status;

const ARGUMENT: &str = "acl";

/// The entries of an ACL.
#[derive(Args, Debug)]
pub(super) struct Entries {
    /// An entry of the ACL, scheme:id:perms, as often as there are entries
    ///
    /// Such as world:anyone:r, ip:10.0.0.0/8:cdrwa, sasl:deploy:all, auth::all or creator_all for whoever logs in,
    /// digest:user:HASH:perms, or digest:user:perms for a user whose password is in --acl-password-file, or typed. Letters
    /// of perms are c(reate), d(elete), r(ead), w(rite), a(dmin).
    #[arg(long = "acl", visible_alias = "set", value_name = "ENTRY")]
    entries: Vec<String>,
    /// A file whose first line is the password of the user of an entry digest:user:perms
    #[arg(long, value_name = "FILE", requires = "entries")]
    acl_password_file: Option<PathBuf>,
    /// Ask for the password of each user of an entry digest:user:perms
    #[arg(long, requires = "entries", conflicts_with = "acl_password_file")]
    ask_acl_password: bool,
}

impl Entries {
    /// The ACL. `None`: no entry was given.
    pub(super) fn read(&self, settings: &Settings) -> Result<Option<List>> {
        if self.entries.is_empty() {
            return Ok(None);
        }
        let users = self.entries.iter().filter(|word| acl::needs_password(word)).count();
        let refused = |reason: &str| Err(Error::Argument { argument: ARGUMENT, reason: reason.to_owned() });
        let password = match &self.acl_password_file {
            Some(_) if users > 1 => {
                return refused("the entries name several users without a hash, and --acl-password-file is for one")
            }
            Some(_) if users == 0 => return refused("no entry is digest:user:perms, which --acl-password-file is for"),
            Some(file) => Some(files::secret_in(file)?),
            None => None,
        };
        let mut entries = Vec::with_capacity(self.entries.len());
        for word in &self.entries {
            let asked = match acl::needs_password(word) && self.ask_acl_password {
                true => Some(ask(word)?),
                false => None,
            };
            entries.push(acl::word(ARGUMENT, word, asked.as_ref().or(password.as_ref()))?);
        }
        let list = acl::from_entries(ARGUMENT, &entries)?;
        settings.check_creator(ARGUMENT, &list)?;
        Ok(Some(list))
    }
}

fn ask(word: &str) -> Result<Secret> {
    let typed = rpassword::prompt_password(format!("Password for {}: ", shown(word)));
    typed.map(Secret::from).map_err(|error| {
        let reason = format!("no terminal to ask at ({error}); give --acl-password-file");
        Error::Argument { argument: "ask_acl_password", reason }
    })
}

/// Print the ACL of a znode, an entry a line, or write it
///
/// Each line is an entry as --set takes it. Whoever has the hash of a digest, and time, can find its password: keep the
/// hash to yourself. --set writes the whole ACL; with --version it does so only if nobody has written the ACL since.
/// With --json the ACL is a list; where it was written, the new stat is printed.
#[derive(Args, Debug)]
#[command(disable_version_flag = true)]
pub(crate) struct Acl {
    /// The znode
    path: String,
    #[command(flatten)]
    entries: Entries,
    /// Write only if the ACL is at this version: `acl version` of stat
    #[arg(long, value_name = "N", requires = "entries", value_parser = clap::value_parser!(i32).range(0..))]
    version: Option<i32>,
}

impl Acl {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let path = calls.settings().any_path(&self.path)?;
        if let Some(list) = self.entries.read(calls.settings())? {
            let version = self.version.unwrap_or(-1);
            let change = |client, budget| async move { znode::set_acl(&client, &path, &list, version, &budget).await };
            let stat = calls.change(change).await?;
            if output.form() == Form::Json {
                print::json(&Stat::from(&stat));
            }
            return Ok(Status::DONE);
        }
        let list = calls.ask(|client, budget| async move { znode::acl(&client, &path, &budget).await }).await?;
        match output.form() {
            Form::Json => {
                let entries = list.iter().map(|entry| {
                    let text = acl::text(entry);
                    let perms = text.rsplit(':').next().unwrap_or_default();
                    json!({"scheme": entry.scheme(), "id": entry.id(), "perms": perms})
                });
                print::json(&entries.collect::<Vec<_>>());
            }
            Form::Text => {
                list.iter().all(|entry| print::line(&shown(&acl::text(entry))));
            }
        }
        Ok(Status::DONE)
    }
}
