//! `config`: which settings are in force, and where each comes from.

use clap::{ArgMatches, Args};
use zkcoord::Result;

use crate::arguments::{ConnectionOptions, OutputOptions};
use crate::connection;
use crate::print::{self, shown, Form};

/// Show which settings are in force, and where each comes from
///
/// What an option says counts first, then the environment (ZKCOORD_HOSTS and so on), then a profile of the user's file,
/// then of /etc/zkcoord.toml. Secrets are not shown.
#[derive(Args, Debug)]
pub(crate) struct Config {}

impl Config {
    pub(crate) fn run(&self, options: &ConnectionOptions, matches: &ArgMatches, output: OutputOptions) -> Result<()> {
        let found = connection::in_force(options, matches)?;
        match output.form() {
            Form::Json => print::json(&found),
            Form::Text => {
                let rows = found.iter().map(|it| vec![it.setting.to_owned(), shown(&it.value), shown(&it.from)]);
                print::answer(&print::table(&["setting", "value", "from"], rows));
                let files = connection::files_of(options);
                let files = files.iter().map(|file| {
                    let is_there = if file.exists() { "" } else { ", which is not there" };
                    format!("{}{is_there}", file.display())
                });
                print::answer(&format!("files: {}", files.collect::<Vec<_>>().join("; ")));
            }
        }
        Ok(())
    }
}
