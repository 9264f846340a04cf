//! The dynamic configuration of an ensemble, as `/zookeeper/config` holds it: parsed and printed without loss. Pure.
//!
//! ```text
//! server.ID=HOST:PORT:PORT[:ROLE][|HOST:PORT:PORT[:ROLE]...][;[HOST:]PORT]
//! group.ID=ID:ID:...
//! weight.ID=NUMBER
//! version=HEX
//! ```
//!
//! The first port of an address is the quorum's, the second the election's; what is behind the semicolon is for clients.
//! IPv6 addresses are in brackets. Lines that mean nothing here are kept as they are: a newer server may have written them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;

use crate::error::{Error, Result};

const ARGUMENT: &str = "member";
/// Where servers listen for clients that are told no address.
const ANYWHERE: [&str; 3] = ["0.0.0.0", "[::]", "[0:0:0:0:0:0:0:0]"];
/// Bytes of a line. A configuration has to fit into a request.
const LONGEST: usize = 64 * 1024;

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It votes.
    Participant,
    /// It follows, and does not vote.
    Observer,
}

impl Role {
    /// The word in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Participant => "participant",
            Self::Observer => "observer",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Participant, Self::Observer].into_iter().find(|role| role.name() == text)
    }
}

/// Where the other servers reach a member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name or an address; IPv6 in brackets.
    pub host: String,
    /// The port of the quorum.
    pub quorum: u16,
    /// The port of the election.
    pub election: u16,
    /// The role, where it is written beside this address.
    pub role: Option<Role>,
}

/// Where clients reach a member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress {
    /// A name or an address; IPv6 in brackets. `None`: any that the host has.
    pub host: Option<String>,
    /// The port.
    pub port: u16,
}

/// A server of an ensemble.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Its id.
    pub id: i64,
    /// Where the other servers reach it; at least one.
    pub addresses: Vec<Address>,
    /// Where clients reach it, if the configuration says so.
    pub client: Option<ClientAddress>,
}

impl Member {
    /// Reads `server.ID=...`, as it is in the configuration and in a request to change it.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let refused = |why: &str| {
            let form = "server.ID=HOST:PORT:PORT[:ROLE][;[HOST:]PORT]";
            Error::argument(ARGUMENT, format!("{} {why}; give {form}", quoted(text)))
        };
        if text.len() > LONGEST {
            return Err(refused("is too long"));
        }
        let (id, spec) = text
            .strip_prefix("server.")
            .and_then(|rest| rest.split_once('='))
            .ok_or_else(|| refused("is no member of an ensemble"))?;
        let id = id.trim().parse().ok().filter(|id| *id >= 0);
        let id = id.ok_or_else(|| refused("has no number for an id"))?;
        let (servers, client) = match spec.split_once(';') {
            Some((servers, client)) => (servers, Some(client)),
            None => (spec, None),
        };
        let addresses: Option<Vec<_>> = servers.split('|').map(|part| address(part.trim())).collect();
        let addresses = addresses.ok_or_else(|| refused("has an address that is none"))?;
        let roles: Vec<_> = addresses.iter().filter_map(|address| address.role).collect();
        if roles.iter().any(|role| *role != roles[0]) {
            return Err(refused("has two roles"));
        }
        let client = match client.map(|text| client_address(text.trim())) {
            Some(None) => return Err(refused("has an address for clients that is none")),
            found => found.flatten(),
        };
        Ok(Self { id, addresses, client })
    }

    /// What it may do: it votes unless it is said that it observes.
    #[must_use]
    pub fn role(&self) -> Role {
        self.addresses.iter().find_map(|address| address.role).unwrap_or(Role::Participant)
    }

    /// Whether it votes.
    #[must_use]
    pub fn votes(&self) -> bool {
        self.role() == Role::Participant
    }

    /// Where a client finds it, as `host:port`, as far as the configuration tells.
    #[must_use]
    pub fn client_server(&self) -> Option<String> {
        let client = self.client.as_ref()?;
        Some(format!("{}:{}", self.client_host(), client.port))
    }

    /// The host on which a client finds it.
    #[must_use]
    pub fn client_host(&self) -> &str {
        let own = self.client.as_ref().and_then(|client| client.host.as_deref());
        own.filter(|host| !ANYWHERE.contains(host)).unwrap_or(&self.addresses[0].host)
    }

    /// Every address and port that it listens at, for others and for clients.
    fn endpoints(&self) -> impl Iterator<Item = (String, u16)> + '_ {
        let others =
            self.addresses.iter().flat_map(|it| [(it.host.clone(), it.quorum), (it.host.clone(), it.election)]);
        let client = self.client.iter().map(|client| (self.client_host().to_owned(), client.port));
        others.chain(client)
    }

    /// An address and port that this member and another one would both listen at.
    #[must_use]
    pub fn shares(&self, other: &Self) -> Option<String> {
        let taken: Vec<_> = other.endpoints().map(|(host, port)| (host.to_ascii_lowercase(), port)).collect();
        let shared = self.endpoints().find(|(host, port)| taken.contains(&(host.to_ascii_lowercase(), *port)));
        shared.map(|(host, port)| format!("{host}:{port}"))
    }

    /// Whether both are the same server in the same role, however that is written.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.id == other.id && self.role() == other.role() && self.has_addresses_of(other) && {
            // Servers tell no address for clients that they have from their own file.
            let clients = (self.client_server(), other.client_server());
            clients.0.is_none() || clients.1.is_none() || clients.0 == clients.1
        }
    }

    /// Whether the other servers reach both at the same addresses.
    #[must_use]
    pub fn has_addresses_of(&self, other: &Self) -> bool {
        let reached = |member: &Self| {
            let mut found: Vec<_> =
                member.addresses.iter().map(|it| (it.host.to_ascii_lowercase(), it.quorum, it.election)).collect();
            found.sort();
            found
        };
        reached(self) == reached(other)
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "server.{}=", self.id)?;
        for (number, address) in self.addresses.iter().enumerate() {
            let bar = if number == 0 { "" } else { "|" };
            write!(f, "{bar}{}:{}:{}", address.host, address.quorum, address.election)?;
            if let Some(role) = address.role {
                write!(f, ":{}", role.name())?;
            }
        }
        match &self.client {
            None => Ok(()),
            Some(ClientAddress { host: None, port }) => write!(f, ";{port}"),
            Some(ClientAddress { host: Some(host), port }) => write!(f, ";{host}:{port}"),
        }
    }
}

/// One line of a configuration, but for its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// `server.ID=...`
    Member(Member),
    /// `group.ID=ID:ID`: the members of a group of voters.
    Group(i64, Vec<i64>),
    /// `weight.ID=NUMBER`: how much the vote of a member counts.
    Weight(i64, u32),
    /// What means nothing here.
    Other(String),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(member) => member.fmt(f),
            Self::Group(id, members) => {
                let members: Vec<_> = members.iter().map(i64::to_string).collect();
                write!(f, "group.{id}={}", members.join(":"))
            }
            Self::Weight(id, weight) => write!(f, "weight.{id}={weight}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// Who is in an ensemble, since which change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// What it says, in its order.
    pub lines: Vec<Line>,
    /// The zxid of the change that made it; zero for a server that stands alone.
    pub version: u64,
}

impl Configuration {
    /// Reads a configuration: the data of `/zookeeper/config`. Empty data, as a server has that stands alone, are no
    /// members.
    ///
    /// # Errors
    /// [`Error::Argument`]: a member, a group, a weight or the version cannot be read, or an id comes twice.
    pub fn parse(text: &str) -> Result<Self> {
        let mut found = Self::default();
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            let refused = |what: &str| Error::argument("configuration", format!("{} {what}", quoted(line)));
            if let Some(version) = line.strip_prefix("version=") {
                found.version = u64::from_str_radix(version, 16).map_err(|_| refused("is no hexadecimal version"))?;
                continue;
            }
            let parsed = Self::line(line).map_err(|error| match error {
                Error::Argument { reason, .. } => Error::argument("configuration", reason),
                other => other,
            })?;
            let is_twice = match &parsed {
                Line::Member(member) => found.member(member.id).is_some(),
                Line::Group(id, _) => found.groups().any(|(other, _)| other == *id),
                Line::Weight(id, _) => found.weights().contains_key(id),
                Line::Other(_) => false,
            };
            if is_twice {
                return Err(refused("has an id that is there already"));
            }
            found.lines.push(parsed);
        }
        Ok(found)
    }

    fn line(line: &str) -> Result<Line> {
        let refused = || Error::argument("configuration", format!("{} cannot be read", quoted(line)));
        let number = |text: &str| text.trim().parse::<i64>().ok().filter(|number| *number >= 0);
        if line.starts_with("server.") {
            return Member::parse(line).map(Line::Member);
        }
        if let Some((id, members)) = line.strip_prefix("group.").and_then(|rest| rest.split_once('=')) {
            let members: Option<Vec<_>> = members.split(':').map(number).collect();
            return Ok(Line::Group(number(id).ok_or_else(refused)?, members.ok_or_else(refused)?));
        }
        if let Some((id, weight)) = line.strip_prefix("weight.").and_then(|rest| rest.split_once('=')) {
            let weight = weight.trim().parse().map_err(|_| refused())?;
            return Ok(Line::Weight(number(id).ok_or_else(refused)?, weight));
        }
        Ok(Line::Other(line.to_owned()))
    }

    /// A configuration with these members, and no groups.
    #[must_use]
    pub fn of(members: impl IntoIterator<Item = Member>) -> Self {
        Self { lines: members.into_iter().map(Line::Member).collect(), version: 0 }
    }

    /// The members, in order.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.lines.iter().filter_map(|line| match line {
            Line::Member(member) => Some(member),
            _ => None,
        })
    }

    /// The member with this id.
    #[must_use]
    pub fn member(&self, id: i64) -> Option<&Member> {
        self.members().find(|member| member.id == id)
    }

    /// The members that vote.
    pub fn voters(&self) -> impl Iterator<Item = &Member> {
        self.members().filter(|member| member.votes())
    }

    /// The groups of voters, with their members.
    pub fn groups(&self) -> impl Iterator<Item = (i64, &[i64])> {
        self.lines.iter().filter_map(|line| match line {
            Line::Group(id, members) => Some((*id, members.as_slice())),
            _ => None,
        })
    }

    /// Whether its voters are in groups. The servers take such a configuration only whole.
    #[must_use]
    pub fn is_hierarchical(&self) -> bool {
        self.groups().next().is_some()
    }

    /// How much the votes count of whom that is said.
    #[must_use]
    pub fn weights(&self) -> BTreeMap<i64, u32> {
        let weight = |line: &Line| match line {
            Line::Weight(id, weight) => Some((*id, *weight)),
            _ => None,
        };
        self.lines.iter().filter_map(weight).collect()
    }

    /// The same with a member more, or in place of the one with its id.
    #[must_use]
    pub fn with(&self, member: Member) -> Self {
        let mut found = self.clone();
        let before = found.lines.iter_mut().find(|line| matches!(line, Line::Member(it) if it.id == member.id));
        match before {
            Some(line) => *line = Line::Member(member),
            None => {
                let end = found.lines.iter().rposition(|line| matches!(line, Line::Member(_))).map_or(0, |at| at + 1);
                found.lines.insert(end, Line::Member(member));
            }
        }
        found
    }

    /// The same without a member: neither as a server, nor in a group, nor with a weight. A group that is empty then goes
    /// with it.
    #[must_use]
    pub fn without(&self, id: i64) -> Self {
        let kept = self.lines.iter().filter_map(|line| match line {
            Line::Member(member) if member.id == id => None,
            Line::Weight(of, _) if *of == id => None,
            Line::Group(group, members) if members.contains(&id) => {
                let rest: Vec<_> = members.iter().copied().filter(|member| *member != id).collect();
                (!rest.is_empty()).then_some(Line::Group(*group, rest))
            }
            line => Some(line.clone()),
        });
        Self { lines: kept.collect(), version: self.version }
    }

    /// Whether both have the same members in the same roles, groups and weights, at whatever version.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let groups = |of: &Self| {
            let sorted = |(id, members): (i64, &[i64])| {
                let mut members = members.to_vec();
                members.sort_unstable();
                (id, members)
            };
            of.groups().map(sorted).collect::<BTreeMap<_, _>>()
        };
        let has = |member: &Member| other.member(member.id).is_some_and(|found| found.is_same(member));
        // A server writes a weight for each voter, where there are groups.
        let weights = |of: &Self| {
            let given = of.weights();
            of.voters().map(|voter| (voter.id, given.get(&voter.id).copied().unwrap_or(1))).collect::<BTreeMap<_, _>>()
        };
        self.members().count() == other.members().count()
            && self.members().all(has)
            && groups(self) == groups(other)
            && (!self.is_hierarchical() || weights(self) == weights(other))
    }

    /// The lines without the version, as a request to replace the whole configuration carries them.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.lines.iter().map(ToString::to_string).collect()
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        write!(f, "version={:x}", self.version)
    }
}

/// `HOST:PORT:PORT[:ROLE]`.
fn address(text: &str) -> Option<Address> {
    let (host, rest) = host_and_rest(text)?;
    let parts: Vec<_> = rest.split(':').collect();
    let (ports, role) = match parts.as_slice() {
        [quorum, election] => ([quorum, election], None),
        [quorum, election, role] => ([quorum, election], Some(Role::parse(role)?)),
        _ => return None,
    };
    Some(Address { host, quorum: port(ports[0])?, election: port(ports[1])?, role })
}

/// `[HOST:]PORT`.
fn client_address(text: &str) -> Option<ClientAddress> {
    if let Some(port) = port(text) {
        return Some(ClientAddress { host: None, port });
    }
    let (host, rest) = host_and_rest(text)?;
    Some(ClientAddress { host: Some(host), port: port(rest)? })
}

/// A host, IPv6 with its brackets, and what is behind the colon.
fn host_and_rest(text: &str) -> Option<(String, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let address = host.split_once('%').map_or(host, |(address, _)| address);
        address.parse::<Ipv6Addr>().ok()?;
        return Some((format!("[{host}]"), rest.strip_prefix(':')?));
    }
    let (host, rest) = text.split_once(':')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (!host.is_empty() && host.chars().all(is_name)).then(|| (host.to_owned(), rest))
}

fn port(text: &str) -> Option<u16> {
    // Java reads a sign, and what it prints has none.
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

/// A text in a message: one line, and not too long.
fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(120).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    format!("{shown:?}")
}
