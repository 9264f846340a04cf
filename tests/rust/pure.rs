//! The pure parts: order, names, settings, ACLs, paths, deadlines, records, timed leases. No server, no Python.

#![allow(clippy::unwrap_used, clippy::expect_used, unused_crate_dependencies)]

mod acl;
mod choice;
mod confd;
mod confd_book;
mod configuration;
mod coordinator;
mod deadline;
mod disclosure;
mod ensemble;
mod events;
mod hostile;
mod order;
mod path;
mod security;
mod settings;
mod timed_lease;
mod words;
