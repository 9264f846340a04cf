//! Which setting is in force: what an option or the environment says, else a configuration file, else the default.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::ArgMatches;
use serde::Serialize;
use zkcoord::connect::credentials::UserSource;
use zkcoord::connect::settings::Settings;
use zkcoord::connect::source::Source;
use zkcoord::connect::tls::TlsSource;
use zkcoord::secret::Secret;
use zkcoord::{Error, Result};

use crate::arguments::ConnectionOptions;
use crate::files::{self, Configured};

const PASSWORD: &str = "ZKCOORD_PASSWORD";
const KEYFILE_PASSWORD: &str = "ZKCOORD_KEYFILE_PASSWORD";

/// The settings of a run.
///
/// # Errors
/// [`Error::Argument`].
pub(crate) fn settings(options: &ConnectionOptions) -> Result<Settings> {
    let (explicit, configured) = sources(options)?;
    Settings::resolve(explicit, configured.map(|configured| configured.source).unwrap_or_default())
}

fn sources(options: &ConnectionOptions) -> Result<(Source, Option<Configured>)> {
    let configured = files::read(options.config.as_deref(), options.profile.as_deref())?;
    let password = match (&options.password_file, options.ask_password) {
        (Some(file), _) => Some(files::secret_in(file)?),
        (None, true) => Some(asked()?),
        (None, false) => variable(PASSWORD),
    };
    let explicit = Source {
        hosts: options.hosts.clone().map(|hosts| vec![hosts]),
        user: UserSource {
            scheme: options.scheme.clone(),
            mechanism: options.mechanism.clone(),
            username: options.username.clone(),
            password,
        },
        tls: TlsSource {
            use_ssl: options.use_ssl,
            ca_certs: options.ca_certs.clone(),
            certfile: options.certfile.clone(),
            keyfile: options.keyfile.clone(),
            keyfile_password: variable(KEYFILE_PASSWORD),
            verify_certs: options.verify_certs,
        },
        session_timeout: options.session_timeout,
        connect_timeout: options.connect_timeout,
        max_buffer: options.max_buffer,
        ..Source::default()
    };
    Ok((explicit, configured))
}

fn variable(name: &str) -> Option<Secret> {
    std::env::var(name).ok().map(Secret::from)
}

fn asked() -> Result<Secret> {
    let typed = rpassword::prompt_password("Password: ");
    typed.map(Secret::from).map_err(|error| {
        let reason = format!("no terminal to ask at ({error}); give --password-file, or {PASSWORD}");
        Error::Argument { argument: "ask_password", reason }
    })
}

/// A setting that is in force, and where it comes from.
#[derive(Debug, Serialize)]
pub(crate) struct InForce {
    /// Its name.
    pub(crate) setting: &'static str,
    /// What it is; of a secret only that it is there.
    pub(crate) value: String,
    /// The option, the variable, the file, or the default.
    pub(crate) from: String,
}

/// The settings that are in force, and where each comes from. `matches` tells whether it was an option or the
/// environment.
///
/// # Errors
/// [`Error::Argument`].
pub(crate) fn in_force(options: &ConnectionOptions, matches: &ArgMatches) -> Result<Vec<InForce>> {
    let (explicit, configured) = sources(options)?;
    let file = configured.as_ref().map(|configured| configured.file.display().to_string());
    let source = configured.map(|configured| configured.source).unwrap_or_default();
    let settings = Settings::resolve(explicit.clone(), source.clone())?;
    let mut found = Vec::new();
    let mut add = |setting: &'static str, given: Option<String>, filed: Option<String>, default: Option<String>| {
        let (value, from) = match (given, filed, default) {
            (Some(value), ..) => (value, origin(setting, matches)),
            (None, Some(value), _) => (value, file.clone().unwrap_or_default()),
            (None, None, Some(value)) => (value, "default".to_owned()),
            (None, None, None) => return,
        };
        found.push(InForce { setting, value, from });
    };
    let secret = |secret: &Option<Secret>| secret.as_ref().map(|_| "(set)".to_owned());
    let text = |value: Option<bool>| value.map(|value| value.to_string());
    let hosts = |hosts: &Option<Vec<String>>| hosts.as_ref().map(|hosts| hosts.join(","));
    let seconds = |time: Option<std::time::Duration>| time.map(|time| format!("{} s", time.as_secs_f64()));
    add("profile", options.profile.clone(), None, None);
    add("hosts", hosts(&explicit.hosts), hosts(&source.hosts), Some(settings.hosts()));
    add("scheme", explicit.user.scheme.clone(), source.user.scheme.clone(), None);
    add("mechanism", explicit.user.mechanism.clone(), source.user.mechanism.clone(), None);
    add("username", explicit.user.username.clone(), source.user.username.clone(), None);
    add("password", secret(&explicit.user.password), secret(&source.user.password), None);
    let acl = source.default_acl.as_ref().map(|entries| format!("({} entries)", entries.len()));
    add("default_acl", None, acl, Some("everything to everybody".to_owned()));
    add("use_ssl", text(explicit.tls.use_ssl), text(source.tls.use_ssl), None);
    add("ca_certs", explicit.tls.ca_certs.clone(), source.tls.ca_certs.clone(), None);
    add("certfile", explicit.tls.certfile.clone(), source.tls.certfile.clone(), None);
    add("keyfile", explicit.tls.keyfile.clone(), source.tls.keyfile.clone(), None);
    add("keyfile_password", secret(&explicit.tls.keyfile_password), secret(&source.tls.keyfile_password), None);
    add("verify_certs", text(explicit.tls.verify_certs), text(source.tls.verify_certs), None);
    let session = seconds(Some(settings.identity.session_timeout()));
    add("session_timeout", seconds(explicit.session_timeout), seconds(source.session_timeout), session);
    let connect = seconds(Some(settings.connect_timeout));
    add("connect_timeout", seconds(explicit.connect_timeout), seconds(source.connect_timeout), connect);
    let bytes = |bytes: Option<u32>| bytes.map(|bytes| bytes.to_string());
    add("max_buffer", bytes(explicit.max_buffer), bytes(source.max_buffer), None);
    Ok(found)
}

/// What has given a setting that no file gave.
fn origin(setting: &'static str, matches: &ArgMatches) -> String {
    let option = setting.replace('_', "-");
    let variable = format!("ZKCOORD_{}", setting.to_uppercase());
    if setting == "keyfile_password" {
        return variable;
    }
    if setting == "password" {
        let is_given = |id: &str| matches.value_source(id);
        return match (is_given("password_file"), is_given("ask_password")) {
            (Some(ValueSource::CommandLine), _) => "--password-file".to_owned(),
            (Some(ValueSource::EnvVariable), _) => "ZKCOORD_PASSWORD_FILE".to_owned(),
            (_, Some(ValueSource::CommandLine)) => "--ask-password".to_owned(),
            _ => variable,
        };
    }
    match matches.value_source(setting) {
        Some(ValueSource::EnvVariable) => variable,
        _ => format!("--{option}"),
    }
}

/// The files that are looked into.
pub(crate) fn files_of(options: &ConnectionOptions) -> Vec<PathBuf> {
    files::paths(options.config.as_deref())
}
