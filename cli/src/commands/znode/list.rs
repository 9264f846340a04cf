//! `znode ls`, `tree`, `stat`: what there is.

use clap::Args;
use zkcoord::tree::{self, Branch};
use zkcoord::znode::{self, stat};

use super::lines;
use crate::arguments::OutputOptions;
use crate::call::{Answer, Calls};
use crate::print::{self, shown, Form};
use crate::status::Status;

/// Print the children of a znode, one a line
#[derive(Args, Debug)]
pub(crate) struct Ls {
    /// The znode
    #[arg(default_value = "/")]
    path: String,
    /// Print what the servers know about each child, too
    #[arg(short, long)]
    long: bool,
}

impl Ls {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let path = calls.settings().any_path(&self.path)?;
        if !self.long {
            let mut names =
                calls.ask(|client, budget| async move { znode::children(&client, &path, &budget).await }).await?;
            names.sort_unstable();
            match output.form() {
                Form::Json => print::json(&names),
                Form::Text => {
                    names.iter().all(|name| print::line(&shown(name)));
                }
            }
            return Ok(Status::DONE);
        }
        let children = calls.ask(|client, budget| async move { stat::listing(&client, &path, &budget).await }).await?;
        match output.form() {
            Form::Json => print::json(&children),
            Form::Text if children.is_empty() => {}
            Form::Text => {
                let rows = children.iter().map(|child| {
                    let Some(stat) = &child.stat else { return vec![shown(&child.name), "not permitted".to_owned()] };
                    vec![
                        shown(&child.name),
                        stat.session.clone().unwrap_or_else(|| stat.kind.to_owned()),
                        stat.version.to_string(),
                        stat.bytes.to_string(),
                        stat.children.to_string(),
                        stat.created.clone(),
                        stat.modified.clone(),
                    ]
                });
                let head = ["name", "until", "version", "bytes", "children", "created", "modified"];
                print::answer(&print::table(&head, rows));
            }
        }
        Ok(Status::DONE)
    }
}

/// Print what the servers know about a znode
///
/// Times are the servers', in UTC. The session is that of an ephemeral znode.
#[derive(Args, Debug)]
#[command(name = "stat")]
pub(crate) struct StatOf {
    /// The znode
    path: String,
}

impl StatOf {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let path = calls.settings().any_path(&self.path)?;
        let stat = calls.ask(|client, budget| async move { stat::stat(&client, &path, &budget).await }).await?;
        match output.form() {
            Form::Json => print::json(&stat),
            Form::Text => {
                lines(&stat).iter().all(|(name, value)| print::line(&format!("{name:<18}{value}")));
            }
        }
        Ok(Status::DONE)
    }
}

/// Print a znode and all below it
///
/// The number of children is in parentheses. A znode whose children this user may not read has a question mark. Below the
/// root nothing of ZooKeeper's own is printed.
#[derive(Args, Debug)]
pub(crate) struct Tree {
    /// The znode
    #[arg(default_value = "/")]
    path: String,
    /// How many levels below the znode are printed
    #[arg(short = 'L', long, value_name = "N")]
    depth: Option<usize>,
}

impl Tree {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let path = calls.settings().any_path(&self.path)?;
        let depth = self.depth;
        let work = |client, budget| async move { tree::branches(&client, &path, depth, &budget).await };
        let mut branches = calls.ask(work).await?;
        for branch in &mut branches {
            branch.path = calls.settings().shown(&branch.path);
        }
        match output.form() {
            Form::Json => print::json(&branches),
            Form::Text => {
                drawn(&branches).iter().all(|line| print::line(line));
            }
        }
        Ok(Status::DONE)
    }
}

/// A tree as lines: each znode before its children.
fn drawn(branches: &[Branch]) -> Vec<String> {
    let level = |path: &str| if path == "/" { 0 } else { path.matches('/').count() };
    let top = branches.first().map_or(0, |root| level(&root.path));
    // Whether a znode is the last child of its parent shows in what comes after it. So this goes from the end.
    let mut is_last = vec![true; branches.len()];
    let mut has_later: Vec<bool> = Vec::new();
    for (index, branch) in branches.iter().enumerate().rev() {
        let depth = level(&branch.path) - top;
        has_later.resize(depth + 1, false);
        is_last[index] = !std::mem::replace(&mut has_later[depth], true);
    }
    let mut lines = Vec::with_capacity(branches.len() + 1);
    let mut open: Vec<bool> = Vec::new();
    for (branch, is_last) in branches.iter().zip(is_last) {
        let depth = level(&branch.path) - top;
        let count = match branch.children {
            Some(0) => String::new(),
            Some(count) => format!(" ({count})"),
            None => " (?)".to_owned(),
        };
        if depth == 0 {
            lines.push(format!("{}{count}", shown(&branch.path)));
            continue;
        }
        open.resize(depth, false);
        open[depth - 1] = !is_last;
        let rails: String = open[..depth - 1].iter().map(|open| if *open { "│   " } else { "    " }).collect();
        let name = branch.path.rsplit('/').next().unwrap_or_default();
        lines.push(format!("{rails}{}{}{count}", if is_last { "└── " } else { "├── " }, shown(name)));
    }
    let below = branches.len().saturating_sub(1);
    lines.push(format!("{below} {} below", if below == 1 { "znode" } else { "znodes" }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branch(path: &str, children: Option<usize>) -> Branch {
        Branch { path: path.to_owned(), children }
    }

    #[test]
    fn a_tree_has_rails_only_where_something_follows() {
        let branches = [
            branch("/a", Some(2)),
            branch("/a/b", Some(1)),
            branch("/a/b/x", Some(0)),
            branch("/a/c\x1b", Some(1)),
            branch("/a/c\x1b/y", None),
        ];
        let lines = ["/a (2)", "├── b (1)", "│   └── x", "└── c\\u{1b} (1)", "    └── y (?)", "4 znodes below"];
        assert_eq!(drawn(&branches), lines);
    }

    #[test]
    fn the_root_is_one_level_above_its_children() {
        let branches = [branch("/", Some(1)), branch("/a", Some(0))];
        assert_eq!(drawn(&branches), ["/ (1)", "└── a", "1 znode below"]);
    }
}
