//! `completions` and `manual`: made from the declaration of the options.

use clap::Args;
use clap_complete::Shell;

use crate::print;
use crate::status::Status;

/// Print the completions for a shell
///
/// For bash: zkcoord completions bash > /etc/bash_completion.d/zkcoord
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// bash, zsh, fish
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, mut command: clap::Command) -> Status {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut command, "zkcoord", &mut text);
        print::raw(&text);
        Status::DONE
    }
}

/// Print the manual page
///
/// zkcoord manual | man -l -
#[derive(Args, Debug)]
pub(crate) struct Manual {
    /// The page of this command; default: that of zkcoord
    command: Option<String>,
    /// Print which commands have a page, one a line
    #[arg(long, conflicts_with = "command")]
    list: bool,
}

impl Manual {
    pub(crate) fn run(&self, command: clap::Command) -> Status {
        let mut command = command;
        command.build();
        if self.list {
            command.get_subcommands().for_each(|command| print::answer(command.get_name()));
            return Status::DONE;
        }
        if let Some(name) = &self.command {
            let Some(found) = command.find_subcommand(name).cloned() else {
                print::note(&format!("manual: there is no command {}", print::shown(name)));
                return Status::USAGE;
            };
            command = found;
        }
        let mut page = Vec::new();
        // The page is written to memory, which cannot fail.
        let _ = clap_mangen::Man::new(command).render(&mut page);
        print::raw(&page);
        Status::DONE
    }
}
