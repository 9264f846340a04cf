//! Data for a znode: an argument, a file, or standard input.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::thread;

use clap::Args;
use tokio::sync::oneshot;
use zkcoord::Error;

use crate::call::{Answer, Calls, Ended};
use crate::signals;

/// The most bytes that are read. No server takes so many.
const MOST: u64 = 64 * 1024 * 1024;
const STDIN: &str = "-";

/// Data for a znode.
#[derive(Args, Debug)]
pub(super) struct Input {
    /// The data; - reads standard input
    #[arg(value_name = "DATA", conflicts_with = "file", allow_hyphen_values = true)]
    data: Option<OsString>,
    /// A file that has the data; - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Input {
    /// The data. `None`: nothing was given.
    pub(super) async fn read(self, calls: &mut Calls) -> Answer<Option<Vec<u8>>> {
        match (self.data, self.file) {
            (Some(data), _) if data == STDIN => stdin(calls).await.map(Some),
            (Some(data), _) => Ok(Some(data.into_vec())),
            (None, Some(file)) if file == Path::new(STDIN) => stdin(calls).await.map(Some),
            (None, Some(file)) => {
                let data = File::open(&file).and_then(whole);
                Ok(Some(data.map_err(|error| refused(&format!("{}: {error}", file.display())))?))
            }
            (None, None) => Ok(None),
        }
    }
}

/// All of standard input. A signal ends the wait for it.
async fn stdin(calls: &mut Calls) -> Answer<Vec<u8>> {
    let (sender, data) = oneshot::channel();
    let reading = thread::Builder::new().name("stdin".into()).spawn(move || drop(sender.send(whole(io::stdin()))));
    reading.map_err(|error| Error::resources("read standard input", &error))?;
    tokio::select! {
        biased;
        data = data => match data {
            Ok(Ok(data)) => Ok(data),
            Ok(Err(error)) => Err(refused(&format!("standard input: {error}")).into()),
            Err(_) => Err(Error::Internal("standard input was not read".into()).into()),
        },
        Some(signal) = calls.signals.recv() => {
            let by = signals::name(signal.number);
            let path = "standard input".to_owned();
            Err(Ended::Signalled(signal.number, Error::Cancelled { path, by, consequence: "nothing was changed" }))
        }
    }
}

fn whole(from: impl Read) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    from.take(MOST + 1).read_to_end(&mut data)?;
    if data.len() as u64 > MOST {
        return Err(io::Error::other(format!("more than {MOST} bytes, which no server takes")));
    }
    Ok(data)
}

fn refused(reason: &str) -> Error {
    Error::Argument { argument: "data", reason: reason.to_owned() }
}
