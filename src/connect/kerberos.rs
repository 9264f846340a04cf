//! Tickets for the servers, got before the protocol client asks for them. The protocol client does not say why it gets
//! none, and it asks in the middle of its work, so that a KDC which does not answer would hold up all sessions of the
//! process. It finds the tickets that are got here in the cache.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use futures::future::join_all;
use libgssapi::context::{ClientCtx, CtxFlags};
use libgssapi::credential::{Cred, CredUsage};
use libgssapi::error::{Error as Refusal, MajorFlags};
use libgssapi::name::Name;
use libgssapi::oid::{OidSet, GSS_MECH_KRB5, GSS_NT_HOSTBASED_SERVICE};
use tokio::time::sleep;

use crate::connect::apart::apart;
use crate::connect::findings::{grouped, Findings};
use crate::connect::hosts::host;
use crate::connect::settings::Identity;
use crate::error::{Error, Result};

/// The pause between two questions to the KDC: the first, and the longest.
const PAUSE: Duration = Duration::from_millis(250);
const MOST: Duration = Duration::from_secs(30);

/// What `krb5_err.h` calls `KRB5KDC_ERR_NONE`, where the numbers of errors begin.
const BASE: u32 = -1_765_328_384_i32 as u32;
const S_PRINCIPAL_UNKNOWN: u32 = BASE + 7;
const TICKET_EXPIRED: u32 = BASE + 32;
/// `KRB5KDC_ERR_SVC_UNAVAILABLE`, `KRB5_REALM_UNKNOWN`, `KRB5_KDC_UNREACH`, `KRB5_REALM_CANT_RESOLVE`: the KDC, or what
/// finds it, may come back.
const PASSING: [u32; 4] = [BASE + 29, BASE + 154, BASE + 156, BASE + 220];

/// Why there is no ticket for a server.
struct Missing {
    reason: String,
    may_pass: bool,
}

/// Waits until there is a ticket for a server, unless it is certain that there will be none.
pub(crate) async fn tickets(identity: &Identity, path: &str, findings: &Findings) -> Result<()> {
    let mut pause = PAUSE;
    loop {
        let (is_enough, is_certain, reason) = ask(identity, findings).await;
        if is_enough {
            return Ok(());
        }
        if is_certain {
            return Err(Error::NoTicket { hosts: identity.hosts(), path: path.to_owned(), reason });
        }
        sleep(pause).await;
        pause = (pause * 2).min(MOST);
    }
}

/// Notes which tickets are missing, while a caller waits for a connection to come back.
pub(crate) async fn note_missing_tickets(identity: &Identity, findings: &Findings) -> Infallible {
    let mut pause = PAUSE;
    loop {
        sleep(pause).await;
        pause = (pause * 2).min(MOST);
        ask(identity, findings).await;
    }
}

/// Whether there is a ticket for a server, whether it is certain that there will be none for any, and why. The findings
/// say why as well.
async fn ask(identity: &Identity, findings: &Findings) -> (bool, bool, String) {
    let hosts: BTreeSet<&str> = identity.servers.iter().map(|server| host(server)).collect();
    let named = hosts.iter().map(|host| format!("zookeeper@{host}")).collect::<Vec<_>>().join(", ");
    findings.note_tickets(Some(format!(
        "no answer from Kerberos yet about tickets for {named}; check that the realm's KDC runs"
    )));
    let asking = hosts.iter().map(|host| {
        let host = (*host).to_owned();
        // Asking reads files, and waits for the KDC.
        apart(host, |host: &String| missing(host))
    });
    let missing: Vec<Option<Missing>> = join_all(asking).await;
    let is_enough = missing.iter().any(Option::is_none);
    let is_certain = missing.iter().flatten().all(|missing| !missing.may_pass);
    let reasons =
        hosts.iter().zip(missing).filter_map(|(host, missing)| Some((format!("zookeeper@{host}"), missing?.reason)));
    let reason = grouped(reasons);
    findings.note_tickets(Some(format!("no Kerberos ticket for {reason}")).filter(|_| !reason.is_empty()));
    (is_enough, is_certain, reason)
}

/// Gets a ticket as the protocol client does, into the cache. `None`: there is one.
fn missing(host: &str) -> Option<Missing> {
    let ticket = || {
        let target = Name::new(format!("zookeeper@{host}").as_bytes(), Some(&GSS_NT_HOSTBASED_SERVICE))?;
        let mut kerberos = OidSet::new()?;
        kerberos.add(&GSS_MECH_KRB5)?;
        let credential = Cred::acquire(None, None, CredUsage::Initiate, Some(&kerberos))?;
        ClientCtx::new(Some(credential), target, CtxFlags::all(), Some(&GSS_MECH_KRB5)).step(None, None)
    };
    ticket().err().map(|refusal| explained(&refusal))
}

fn explained(refusal: &Refusal) -> Missing {
    let text = refusal.to_string();
    // In brackets, after what is the same for most errors.
    let text = text.split_once(" (").map_or(text.as_str(), |(_, detail)| detail.strip_suffix(')').unwrap_or(detail));
    let minor = refusal.minor;
    let may_pass = PASSING.contains(&minor);
    // They are called flags, and are numbers.
    let is_missing = [MajorFlags::GSS_S_NO_CRED, MajorFlags::GSS_S_CREDENTIALS_EXPIRED]
        .iter()
        .any(|major| major.bits() == refusal.major.bits());
    let advice = match minor {
        _ if may_pass => "; check that the realm's KDC runs",
        S_PRINCIPAL_UNKNOWN => "; the servers' principals must name them as the hosts do",
        _ if is_missing || minor == TICKET_EXPIRED => "; get one with kinit, or name a keytab in KRB5_CLIENT_KTNAME",
        _ => "",
    };
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Missing { reason: format!("{line}{advice}"), may_pass }
}
