//! Asking servers: four-letter words over TCP or TLS, the AdminServer where a word is refused; all of them at once.
//!
//! | what a server does | what it costs | what is answered |
//! | --- | --- | --- |
//! | refuses the connection | nothing | that, at once |
//! | does not answer, or sends a byte a second | the time that is left, once for all servers; less where others answer | that |
//! | sends without an end | [`MOST`] bytes | that it is no answer |
//! | does not answer this word | one more question, to its AdminServer | what that one says, if it is this server's |

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{join, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, DATE, HOST};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep_until, timeout, timeout_at};

use crate::connect::certificates::Material;
use crate::connect::stream::{open, why, Duplex, Unusable};
use crate::ensemble::configuration::Configuration;
use crate::ensemble::words::{field, from_json, from_text, Fields, Trouble};

/// Bytes of an answer. One that lists fifty thousand connections is as long.
pub(crate) const MOST: usize = 16 * 1024 * 1024;
/// How long a server may be silent after half of all have answered, where the answer is to be a picture of all.
pub(crate) const STRAGGLING: Duration = Duration::from_millis(750);
/// A server may take so many times as long as the others have taken.
const SLOWER: u32 = 4;
/// How long an AdminServer may take to be connected to. A filter that drops its packets would cost all of the time.
const ADMIN_CONNECT: Duration = Duration::from_secs(1);

/// Who has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    FourLetter,
    Admin,
}

impl Origin {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FourLetter => "4lw",
            Self::Admin => "admin",
        }
    }
}

/// What one server has answered to one word.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) origin: Option<Origin>,
    pub(crate) fields: Result<Fields, Trouble>,
}

impl Heard {
    fn nothing(trouble: Trouble) -> Self {
        Self { origin: None, fields: Err(trouble) }
    }
}

/// How servers are asked.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    /// What TLS is spoken with, if it is.
    pub(crate) material: Option<Arc<Material>>,
    /// The port of the AdminServers; zero for none.
    pub(crate) admin_port: u16,
    /// When the time is up.
    pub(crate) end: Instant,
    /// How long those who are silent are waited for once half of all have answered; `None`: until the time is up.
    pub(crate) straggling: Option<Duration>,
}

impl Asking {
    /// Asks each server each of its words, all at once: of each server, what it has answered to each word.
    pub(crate) async fn all(&self, questions: &[(String, &'static [&'static str])]) -> Vec<Vec<Heard>> {
        let started = Instant::now();
        let mut found: Vec<Vec<Option<Heard>>> = questions.iter().map(|(_, words)| vec![None; words.len()]).collect();
        let mut asking = FuturesUnordered::new();
        for (server, (address, words)) in questions.iter().enumerate() {
            for (number, word) in words.iter().enumerate() {
                asking.push(self.ask(address, word).map(move |heard| (server, number, heard)));
            }
        }
        let mut end = self.end;
        let mut is_cut = false;
        loop {
            let next = timeout_at(end.into(), asking.next()).await;
            let Ok(Some((server, number, heard))) = next else {
                is_cut = is_cut && next.is_err();
                break;
            };
            found[server][number] = Some(heard);
            // Whoever has answered a word is there; other words may be with an AdminServer that is not.
            let answering = found.iter().filter(|of| of.iter().any(Option::is_some)).count();
            if let (Some(straggling), false) = (self.straggling, is_cut) {
                if 2 * answering >= questions.len() {
                    let grace = straggling.max(started.elapsed() * SLOWER);
                    (end, is_cut) = (end.min(Instant::now() + grace), true);
                }
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        let silent = if is_cut {
            format!("has not answered within {seconds:.1} s, when most others had")
        } else {
            format!("has not answered within {seconds:.1} s")
        };
        let or_silent = |heard: Option<Heard>| heard.unwrap_or_else(|| Heard::nothing(Trouble::Slow(silent.clone())));
        found.into_iter().map(|of| of.into_iter().map(or_silent).collect()).collect()
    }

    /// Asks one server one word, and its AdminServer where it refuses that.
    pub(crate) async fn ask(&self, server: &str, word: &str) -> Heard {
        match self.four_letter(server, word).await.and_then(|answer| from_text(word, &answer)) {
            Ok(Some(fields)) => Heard { origin: Some(Origin::FourLetter), fields: Ok(fields) },
            Err(trouble) => Heard::nothing(trouble),
            Ok(None) => match self.answer_of_admin(server, word).await {
                Ok(fields) => Heard { origin: Some(Origin::Admin), fields: Ok(fields) },
                Err(Trouble::NotServing) => Heard::nothing(Trouble::NotServing),
                Err(trouble) => Heard::nothing(Trouble::Refused(format!(
                    "does not answer {word}, which is not in its 4lw.commands.whitelist, and its AdminServer{}: {trouble}",
                    if self.admin_port == 0 { String::new() } else { format!(" at port {}", self.admin_port) }
                ))),
            },
        }
    }

    /// Whether a server says that it leads, and is a member; if not, what it says. One that has just been removed says for
    /// a moment that it leads, and has the new configuration already.
    pub(crate) async fn leads(&self, server: &str) -> Result<(), String> {
        let heard = self.ask(server, "srvr").await;
        match heard.fields.as_ref().map(|fields| field(fields, "Mode")) {
            Ok(Some("leader")) => {}
            Ok(Some(mode)) => return Err(format!("is a {mode}")),
            Ok(None) => return Err("does not say what it is".to_owned()),
            Err(trouble) => return Err(trouble.to_string()),
        }
        if heard.origin != Some(Origin::FourLetter) {
            return Ok(());
        }
        let Ok(Ok(Some(conf))) = self.four_letter(server, "conf").await.map(|answer| from_text("conf", &answer)) else {
            return Ok(());
        };
        let id = field(&conf, "serverId").and_then(|id| id.parse().ok());
        let known = field(&conf, "membership").and_then(|lines| Configuration::parse(lines).ok());
        match id.zip(known) {
            Some((id, known)) if known.member(id).is_none() => Err("led, and is no member any more".to_owned()),
            _ => Ok(()),
        }
    }

    async fn four_letter(&self, server: &str, word: &str) -> Result<Vec<u8>, Trouble> {
        let mut stream = open(server, self.material.as_deref()).await.map_err(|unusable| trouble(unusable, server))?;
        // Netty's server waits for the line's end where TLS is looked for.
        stream.write_all(format!("{word}\n").as_bytes()).await.map_err(|error| trouble(why(error), server))?;
        let mut answer = Vec::new();
        let reading = stream.take(MOST as u64 + 1).read_to_end(&mut answer).await;
        if answer.len() > MOST {
            return Err(Trouble::Garbage(format!("sends more than {MOST} bytes in answer to {word}")));
        }
        match reading {
            // A server that resets the connection after its answer has answered.
            Ok(_) => Ok(answer),
            Err(_) if !answer.is_empty() => Ok(answer),
            Err(error) => Err(trouble(why(error), server)),
        }
    }

    /// What the AdminServer of a server answers. Where several servers share a host, one of them has the port: who it is
    /// tells its configuration.
    async fn answer_of_admin(&self, server: &str, word: &str) -> Result<Fields, Trouble> {
        let answer = async { self.admin(server, word).await.and_then(|(answer, _)| from_json(word, &answer)) };
        if self.material.is_some() {
            return answer.await;
        }
        let owner = async { self.admin(server, "conf").await.and_then(|(conf, _)| from_json("conf", &conf)).ok() };
        let (answer, owner) = join(answer, owner).await;
        let asked = server.rsplit_once(':').map(|(_, port)| port);
        match owner.as_ref().and_then(|conf| field(conf, "clientPort")) {
            Some(port) if Some(port) != asked => {
                Err(Trouble::Refused(format!("is that of another server, whose port for clients is {port}")))
            }
            _ => answer,
        }
    }

    /// The answer of the AdminServer of a server's host, and what it says the time is.
    async fn admin(&self, server: &str, word: &str) -> Result<(Vec<u8>, Option<String>), Trouble> {
        if self.admin_port == 0 {
            return Err(Trouble::Unreachable("is not asked: admin_port is 0".to_owned()));
        }
        let (host, _) = server.rsplit_once(':').unwrap_or((server, ""));
        let address = format!("{host}:{}", self.admin_port);
        let opening = async {
            match open(&address, self.material.as_deref()).await {
                // An AdminServer speaks plain text unless it is told otherwise, also beside a port that speaks TLS.
                Err(Unusable::NoTls) => open(&address, None).await,
                stream => stream,
            }
        };
        let stream = match timeout(ADMIN_CONNECT, opening).await {
            Ok(stream) => stream.map_err(|unusable| trouble(unusable, &address))?,
            Err(_) => return Err(Trouble::Unreachable(format!("cannot be connected to within {ADMIN_CONNECT:?}"))),
        };
        exchange(stream, &address, word).await
    }

    /// What an AdminServer's clock says, as text, and when we asked. `None`: there is no answer in time.
    pub(crate) async fn clock(&self, server: &str) -> Option<String> {
        tokio::select! {
            answer = self.admin(server, "ruok") => answer.ok()?.1,
            () = sleep_until(self.end.into()) => None,
        }
    }
}

async fn exchange(stream: Box<dyn Duplex>, address: &str, word: &str) -> Result<(Vec<u8>, Option<String>), Trouble> {
    let failed = |error: hyper::Error| {
        let is_tls = error.is_parse();
        let hint = if is_tls { " (does it speak https? then set use_ssl and ca_certs)" } else { "" };
        Trouble::Unreachable(format!("does not speak HTTP at {address}: {error}{hint}"))
    };
    let request = hyper::Request::get(format!("/commands/{word}"))
        .header(HOST, address)
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Trouble::Unreachable(error.to_string()))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let answering = async move {
        let response = sender.send_request(request).await.map_err(failed)?;
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST).collect().await;
        let body = body.map_err(|error| Trouble::Garbage(format!("sends no whole answer: {error}")))?.to_bytes();
        if !status.is_success() && !body.starts_with(b"{") {
            return Err(Trouble::Unreachable(format!("answers {word} at {address} with status {status}")));
        }
        Ok((body.to_vec(), date))
    };
    join(answering, connection).await.0
}

fn trouble(unusable: Unusable, server: &str) -> Trouble {
    match unusable {
        Unusable::Unreachable(reason) => Trouble::Unreachable(reason),
        Unusable::Tls(reason) => Trouble::Unreachable(reason),
        Unusable::NoTls => {
            Trouble::Unreachable(format!("does not speak TLS at {server}: leave use_ssl out, or name another port"))
        }
    }
}
