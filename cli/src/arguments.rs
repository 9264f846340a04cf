//! What all commands share: options of the connection, and how numbers and times are written.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use zkcoord::wait::deadline::Timeout;

use crate::print::{quoted, Form};

/// Which servers, as whom, and how. What is not given comes from the environment, and then from the files.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionOptions {
    /// The servers, host:port,host:port, perhaps with /chroot; default 127.0.0.1:2181
    #[arg(long, short = 'H', env = "ZKCOORD_HOSTS", hide_env_values = true, global = true, value_name = "HOSTS")]
    pub(crate) hosts: Option<String>,
    /// A profile of the configuration files
    #[arg(long, env = "ZKCOORD_PROFILE", hide_env_values = true, global = true, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// A configuration file to read in place of /etc/zkcoord.toml and ~/.config/zkcoord.toml
    #[arg(long, env = "ZKCOORD_CONFIG", hide_env_values = true, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How to log in: digest, or sasl
    #[arg(
        long,
        env = "ZKCOORD_SCHEME",
        hide_env_values = true,
        global = true,
        value_name = "SCHEME",
        hide_short_help = true
    )]
    pub(crate) scheme: Option<String>,
    /// The mechanism of SASL: DIGEST-MD5
    #[arg(
        long,
        env = "ZKCOORD_MECHANISM",
        hide_env_values = true,
        global = true,
        value_name = "NAME",
        hide_short_help = true
    )]
    pub(crate) mechanism: Option<String>,
    /// The user. The password is in ZKCOORD_PASSWORD, in a file, or typed
    #[arg(long, short = 'u', env = "ZKCOORD_USERNAME", hide_env_values = true, global = true, value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// A file whose first line is the password
    #[arg(long, env = "ZKCOORD_PASSWORD_FILE", hide_env_values = true, global = true, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Ask for the password at the terminal
    #[arg(long, global = true, conflicts_with = "password_file")]
    pub(crate) ask_password: bool,
    /// Whether to speak TLS
    #[arg(long, env = "ZKCOORD_USE_SSL", hide_env_values = true, global = true, value_name = "BOOL", num_args = 0..=1,
          require_equals = true, default_missing_value = "true", hide_short_help = true)]
    pub(crate) use_ssl: Option<bool>,
    /// The certificates of the authorities that vouch for the servers
    #[arg(
        long,
        env = "ZKCOORD_CA_CERTS",
        hide_env_values = true,
        global = true,
        value_name = "FILE",
        hide_short_help = true
    )]
    pub(crate) ca_certs: Option<String>,
    /// The client's certificate
    #[arg(
        long,
        env = "ZKCOORD_CERTFILE",
        hide_env_values = true,
        global = true,
        value_name = "FILE",
        hide_short_help = true
    )]
    pub(crate) certfile: Option<String>,
    /// The key of the client's certificate. The password of an encrypted one is in ZKCOORD_KEYFILE_PASSWORD
    #[arg(
        long,
        env = "ZKCOORD_KEYFILE",
        hide_env_values = true,
        global = true,
        value_name = "FILE",
        hide_short_help = true
    )]
    pub(crate) keyfile: Option<String>,
    /// Whether a server's name must be in its certificate; default true
    #[arg(
        long,
        env = "ZKCOORD_VERIFY_CERTS",
        hide_env_values = true,
        global = true,
        value_name = "BOOL",
        hide_short_help = true
    )]
    pub(crate) verify_certs: Option<bool>,
    /// How long the servers keep a session of which they hear nothing; default 10 s
    #[arg(long, env = "ZKCOORD_SESSION_TIMEOUT", hide_env_values = true, global = true, value_name = "TIME", value_parser = time,
          hide_short_help = true)]
    pub(crate) session_timeout: Option<Duration>,
    /// How long to look for a server that answers; default 10 s
    #[arg(long, env = "ZKCOORD_CONNECT_TIMEOUT", hide_env_values = true, global = true, value_name = "TIME", value_parser = time,
          hide_short_help = true)]
    pub(crate) connect_timeout: Option<Duration>,
    /// The longest request that the servers take, in bytes
    #[arg(
        long,
        env = "ZKCOORD_MAX_BUFFER",
        hide_env_values = true,
        global = true,
        value_name = "BYTES",
        hide_short_help = true
    )]
    pub(crate) max_buffer: Option<u32>,
}

impl ConnectionOptions {
    /// The same options as words of a command line, with a blank before each. A secret is none of them.
    pub(crate) fn words(&self) -> String {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
        let bool = |value: Option<bool>| value.map(|value| value.to_string());
        let given = [
            ("--hosts", self.hosts.clone()),
            ("--profile", self.profile.clone()),
            ("--config", path(&self.config)),
            ("--scheme", self.scheme.clone()),
            ("--mechanism", self.mechanism.clone()),
            ("--username", self.username.clone()),
            ("--password-file", path(&self.password_file)),
            ("--use-ssl", bool(self.use_ssl)),
            ("--ca-certs", self.ca_certs.clone()),
            ("--certfile", self.certfile.clone()),
            ("--keyfile", self.keyfile.clone()),
            ("--verify-certs", bool(self.verify_certs)),
        ];
        let words =
            given.into_iter().filter_map(|(name, value)| Some(format!(" {}", quoted(&format!("{name}={}", value?)))));
        let asked = if self.ask_password { " --ask-password" } else { "" };
        words.collect::<String>() + asked
    }
}

/// What is printed, and in which form.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputOptions {
    /// Answers, and errors, as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Tell on standard error how a wait goes, in whole lines; twice: also of connections and sessions
    #[arg(long, short = 'v', global = true, conflicts_with = "quiet", action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Tell nothing but answers and errors
    #[arg(long, short = 'q', global = true)]
    pub(crate) quiet: bool,
}

impl OutputOptions {
    /// The form of answers and errors.
    pub(crate) fn form(self) -> Form {
        if self.json {
            Form::Json
        } else {
            Form::Text
        }
    }
}

/// A time: a number of seconds, or `90s`, `5m`, `1h 30m`.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| "must be zero or more seconds".to_owned());
    }
    humantime::parse_duration(text).map_err(|_| "must be seconds, or a time such as 90s, 5m or 1h30m".to_owned())
}

/// How long to wait: as [`time`]; 0 tries once.
pub(crate) fn timeout(text: &str) -> Result<Timeout, String> {
    let time = time(text)?;
    Ok(if time.is_zero() { Timeout::Once } else { Timeout::For(time) })
}

/// How many may hold a slot; `None`: whatever number the pool stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit(pub(crate) Option<u32>);

/// A limit: a number of at least 1, or the word `stored`.
pub(crate) fn limit(text: &str) -> Result<Limit, String> {
    if text == "stored" {
        return Ok(Limit(None));
    }
    let number = text.parse::<NonZeroU32>().ok().filter(|number| number.get() <= i32::MAX.unsigned_abs());
    let wrong = || format!("must be a whole number from 1 to {}, or \"stored\"", i32::MAX);
    number.map(|number| Limit(Some(number.get()))).ok_or_else(wrong)
}

/// The host's name: who acts where the caller names nobody.
pub(crate) fn host_name() -> String {
    gethostname::gethostname().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_of_seconds_or_has_units() {
        assert_eq!(time("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(time(" 5m"), Ok(Duration::from_secs(300)));
        assert_eq!(time("1h 30m"), Ok(Duration::from_secs(5400)));
        for wrong in ["-1", "nan", "soon", "", "inf"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
        assert_eq!(timeout("0"), Ok(Timeout::Once));
    }

    #[test]
    fn a_limit_is_a_number_of_slots_or_that_of_the_pool() {
        assert_eq!(limit("3"), Ok(Limit(Some(3))));
        assert_eq!(limit("stored"), Ok(Limit(None)));
        for wrong in ["0", "-1", "1.5", "", "STORED", "2147483648", "all"] {
            assert!(limit(wrong).is_err(), "{wrong}");
        }
    }
}
